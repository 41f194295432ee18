/**
 * Two hundred machines are asked for at once while something is killed at a random moment: the server, an agent, libvirtd, or a host's power.
 * What was acknowledged is there once, what was not is asked for again with the same key; in the end each runs, is stopped as wanted, or
 * says what it waits for, and none has ever run twice.
 */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { randomInt, type Random } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { copies, neverTwice } from "../e2e/copies.ts";
import { openSite, type Site } from "../e2e/site.ts";
import { allAtOnce } from "./all-at-once.ts";
import type { OpenStory, Round, Story } from "./story.ts";

export const creationVictims = ["server", "agent", "libvirtd", "host"] as const;
export type CreationVictim = (typeof creationVictims)[number];

/** Ids of the machines that were acknowledged, by name. */
class Acknowledgements extends Map<string, string> {
  #wanted: { readonly count: number; readonly reached: () => void } | undefined;

  /** Called in the moment in which so many are acknowledged: on a fast server the rest are there a few milliseconds later. */
  at(count: number, reached: () => void): void {
    this.#wanted = { count, reached };
    this.#look();
  }

  acknowledge(name: string, id: string): void {
    this.set(name, id);
    this.#look();
  }

  #look(): void {
    if (!this.#wanted || this.size < this.#wanted.count) return;
    const { reached } = this.#wanted;
    this.#wanted = undefined;
    reached();
  }
}

/** Few can really run on a test machine: the others are to be stopped, with their disks made, or are larger than any host. */
const kinds = ["runs", "stopped", "too-large"] as const;
type MachineKind = (typeof kinds)[number];

export interface CreationRound extends Pick<Round, "random" | "log" | "stop"> {
  readonly victim: CreationVictim;
  readonly kills: number;
  readonly machines: Readonly<Record<MachineKind, number>>;
}

const memoryBytes: Readonly<Record<MachineKind, number>> = { runs: 96 * 2 ** 20, stopped: 96 * 2 ** 20, "too-large": 2 ** 40 };

interface Wanted {
  readonly name: string;
  readonly key: string;
  readonly kind: MachineKind;
}

export const creationKills: Story = {
  name: "creation-kills",
  summary: "200 machines are created at once while server, agent, libvirtd or a host is killed",
  async open(): Promise<OpenStory> {
    const site = await openSite({ hosts: 3, port: 17_663 });
    return {
      logDirectory: `${site.folder}/d/logs`,
      round: ({ seed, random, log, stop }) => {
        const victim = creationVictims[seed % creationVictims.length] ?? "server";
        return playCreationRound(site, {
          victim,
          kills: victim === "server" ? 5 : 2,
          machines: { runs: 8, stopped: 12, "too-large": 180 },
          random,
          log,
          stop,
        });
      },
      close: () => site.close(),
    };
  },
};

export async function playCreationRound(site: Site, round: CreationRound): Promise<void> {
  const { random, log, victim, stop } = round;
  const { deployment } = site;
  const wanted = shuffled(
    random,
    kinds.flatMap((kind) =>
      Array.from({ length: round.machines[kind] }, (_, index) => ({
        name: `${kind}-${index}`,
        key: `${Buffer.from(random.bytes(8)).toString("hex")}-${kind}-${index}`,
        kind,
      })),
    ),
  );
  log(`${wanted.length} machines, victim ${victim}, ${round.kills} kills`);
  await neverTwice(deployment, async () => {
    const acknowledged = new Acknowledgements();
    const killing = (signal: AbortSignal): Promise<void> => kill(site, { ...round, stop: signal }, acknowledged, wanted.length);
    const creating = wanted.map((one) => (signal: AbortSignal) => create(site, one, acknowledged, signal));
    await allAtOnce([killing, ...creating], stop);
    log(`all are acknowledged`);
    await deployment.ready();
    // The same keys again: the same machines, and no other.
    await Promise.all(
      wanted.map(async (one) =>
        assert.equal((await ask(site, one)).record.id, acknowledged.get(one.name), `${one.name} is what its key made at first`),
      ),
    );
    await present(site, wanted, acknowledged);
    await settled(site, wanted, { log, stop });
    await present(site, wanted, acknowledged);
    await removeAll(site);
  });
}

const ask = ({ deployment }: Site, { name, key, kind }: Wanted) =>
  deployment.client.vm.create({
    body: {
      name,
      spec: {
        memory: { bytes: memoryBytes[kind] },
        power: kind === "stopped" ? "stopped" : "running",
        disks: [{ name: "root", image: "mini" }],
        nics: kind === "too-large" ? [] : [{ name: "net0", network: "default" }],
        restart: { maximumTries: 20 },
      },
    },
    idempotencyKey: key,
  });

/** Until it is acknowledged, with one key; an answer that did not come is asked for again. */
async function create(site: Site, wanted: Wanted, acknowledged: Acknowledgements, stop: AbortSignal): Promise<void> {
  const end = performance.now() + 120_000;
  for (;;) {
    try {
      const { record } = await ask(site, wanted);
      acknowledged.acknowledge(wanted.name, record.id);
      return;
    } catch (error) {
      // A refusal is the server's word; everything else means that it is not known whether the machine was made.
      const refused = error instanceof SheafError && !["unavailable", "uncertain", "timed-out", "throttled", "unauthenticated"].includes(error.code);
      if (refused || performance.now() > end) throw new Error(`${wanted.name} was not acknowledged: ${String(error)}`, { cause: error });
      await pause(100);
      stop.throwIfAborted();
    }
  }
}

/** Server: after a random number of acknowledgements. The others: at a random time while their hosts are at work on what was placed there. */
async function kill(site: Site, { victim, kills, random, log, stop }: CreationRound, acknowledged: Acknowledgements, total: number) {
  const { deployment } = site;
  for (let count = 0; count < kills; count += 1) {
    stop.throwIfAborted();
    if (victim === "server") {
      // The last ones are left out: all would have been on their way by then.
      const share = Math.floor((total * 3) / 4 / kills);
      const after = count * share + randomInt(random, share);
      await new Promise<void>((resolve, reject) => {
        stop.addEventListener("abort", () => reject(stop.reason), { once: true });
        acknowledged.at(after, () => {
          if (stop.aborted) return;
          log(`kill -9 of the server after ${acknowledged.size} acknowledgements`);
          resolve(deployment.server.kill());
        });
      });
      await deployment.startServer();
      continue;
    }
    await pause(randomInt(random, 5000), undefined, { signal: stop }).catch(() => stop.throwIfAborted());
    const name = `h${1 + randomInt(random, deployment.hosts.size)}`;
    const found = deployment.hosts.get(name);
    assert.ok(found);
    log(`${victim} of ${name} is killed after ${acknowledged.size} acknowledgements`);
    if (victim === "agent") {
      await found.agent.kill();
      await deployment.startAgent(name);
    } else if (victim === "libvirtd") await found.host.restartLibvirtd("SIGKILL");
    else {
      await found.host.kill();
      await deployment.powerOn(name);
    }
  }
}

/** Every acknowledged machine is there, under its name, and nothing else is. */
async function present({ deployment }: Site, wanted: readonly Wanted[], acknowledged: ReadonlyMap<string, string>): Promise<void> {
  const { items, total } = await deployment.client.vm.list({ query: { limit: 1000 } });
  assert.equal(total, wanted.length, "each machine is there once");
  const ids = new Map(items.map(({ name, id }) => [name, id]));
  for (const { name } of wanted) assert.equal(ids.get(name), acknowledged.get(name), `${name} is there as it was acknowledged`);
}

/**
 * Until each is where its kind ends, and those that run have one QEMU, on the host that the store names. What the store says of a host that
 * has just lost its power is older than the loss for a moment: the processes are the truth.
 */
async function settled({ deployment }: Site, wanted: readonly Wanted[], { log, stop }: Pick<Round, "log" | "stop">): Promise<void> {
  const kindOf = new Map(wanted.map(({ name, kind }) => [name, kind]));
  const started = performance.now();
  let open: string[] = [];
  await until(
    `every machine's end state`,
    180_000,
    async () => {
      stop.throwIfAborted();
      const { items } = await deployment.client.vm.list({ query: { limit: 1000 } });
      open = items.filter((vm) => !isSettled(kindOf.get(vm.name), vm)).map((vm) => `${vm.name} is ${vm.state}: ${JSON.stringify(vm.status)}`);
      if (open.length > 0) return undefined;
      const running = items.filter(({ name }) => kindOf.get(name) === "runs");
      open = await misplaced(deployment, running);
      return open.length === 0 ? true : undefined;
    },
    500,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)} Open: ${open.slice(0, 5).join("; ")}`, { cause: error });
  });
  log(`all are settled ${Math.round((performance.now() - started) / 1000)} s after the last acknowledgement`);
}

interface Placed {
  readonly id: string;
  readonly name: string;
  readonly placement?: { readonly host: string } | undefined;
}

/** Machines that do not run once, where the store says; and what runs besides. */
async function misplaced(deployment: Site["deployment"], running: readonly Placed[]): Promise<string[]> {
  const hosts = new Map((await deployment.client.host.list()).items.map(({ id, name }) => [id, name]));
  const processes = await copies(deployment);
  const wrong = running.flatMap(({ id, name, placement }) => {
    const [found, wanted] = [processes.get(id) ?? [], hosts.get(placement?.host ?? "")];
    return found.length === 1 && found[0] === wanted ? [] : [`${name} runs on [${found.join(", ")}], the store says ${wanted}`];
  });
  return processes.size > running.length ? [...wrong, `${processes.size - running.length} others run`] : wrong;
}

function isSettled(
  kind: MachineKind | undefined,
  vm: { readonly state?: string | undefined; readonly placement?: unknown; readonly status: object },
): boolean {
  switch (kind) {
    case "runs":
      return vm.state === "running";
    case "stopped": {
      // Its disk is made: its host has said that it stands still.
      const { agent } = vm.status as { agent?: { state: string } }; // a machine's record
      return vm.state === "stopped" && agent?.state === "stopped";
    }
    case "too-large": {
      const { placement } = vm.status as { placement?: { pending?: { reason: string } } }; // as above
      return vm.state === "pending" && placement?.pending?.reason.startsWith("no host fits: ") === true;
    }
    case undefined:
      return false;
  }
}

async function removeAll({ deployment }: Site): Promise<void> {
  const { items } = await deployment.client.vm.list({ query: { limit: 1000 } });
  await Promise.all(items.map(({ id }) => deployment.client.vm.delete({ params: { id } })));
  await until("the end of all machines", 120_000, async () => ((await deployment.client.vm.list()).total === 0 ? true : undefined), 250);
  assert.equal((await copies(deployment)).size, 0);
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const left = [...items];
  return items.map(() => left.splice(randomInt(random, left.length), 1)).flat();
}
