/** The real agent takes another version by its server's order; how it lies on its host is played. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Clock, silentLogger, SimulatedClock, sleep } from "@sheaf/base";
import type { UpgradeOrder } from "@sheaf/contract";
import { type AgentInstallation, type HostObservation, SheafError } from "@sheaf/model";
import type { Installation } from "./ports.ts";
import { AgentUpgrade } from "./agent-upgrade.ts";
import { KeptState } from "./kept-state.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";
import { SimulatedServer } from "./simulated/simulated-server.ts";
import { seen, siteHost } from "./site-host.test-support.ts";

const order: UpgradeOrder = { order: "task-1", version: "0.2.0", sha256: "0b".repeat(32), sizeBytes: 4096 };

/** What of an installation outlives a process. */
class PlayedPlace {
  current = "0a".repeat(32);
  trial = false;
  givenUp: string | null = null;
  readonly steps: string[] = [];
  failsAt = "";
  restart = (): void => {};
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** As the version sees it that runs now. */
  get installation(): Installation {
    const archive = this.current;
    const step = async (name: string): Promise<void> => {
      await sleep(this.#clock, 300);
      this.steps.push(name);
      if (this.failsAt === name) throw new SheafError("no-capacity", "the disk is full", { next: "Free space." });
    };
    return {
      platform: "linux-x64",
      archive,
      fixed: undefined,
      onTrial: async () => this.trial,
      givenUp: async () => this.givenUp,
      fetch: async (_order, body, received) => {
        let bytes = 0;
        for await (const chunk of body) received((bytes += chunk.byteLength));
        await step(`fetch ${bytes}`);
      },
      prepare: () => step("prepare"),
      switchTo: async ({ sha256 }) => {
        await step("switch");
        this.current = sha256;
        this.trial = true;
      },
      prove: async () => {
        await step("prove");
        this.trial = false;
      },
      restart: () => this.restart(),
    };
  }
}

async function scene() {
  const host = await siteHost();
  const place = new PlayedPlace(host.clock);
  host.server.archive = new Uint8Array(order.sizeBytes);
  /** Another process, as the version that lies there now. */
  const restart = async (): Promise<void> => {
    host.installation = place.installation;
    await host.restart();
  };
  await restart();
  const told = (): AgentInstallation | undefined => host.server.part<HostObservation>("host", host.id)?.installation;
  const call = async (wanted: UpgradeOrder = order): Promise<void> => {
    const answer = host.server.call("agent.upgrade", wanted);
    answer.catch(() => {});
    await host.clock.advance(2000);
    await answer;
  };
  const end = async (): Promise<void> => {
    assert.equal(seen(host)?.state, "running");
    assert.deepEqual(
      host.hypervisor.calls.filter((each) => /^(start|destroy|shutdown|undefine)/.test(String(each))).length,
      starts,
      "machines were left alone",
    );
    await host.stop();
  };
  const starts = host.hypervisor.calls.filter((each) => /^(start|destroy|shutdown|undefine)/.test(String(each))).length;
  return { host, place, restart, told, call, end };
}

test("an order is taken step by step, each told to the server; the new version proves itself when it has been connected for a while", async () => {
  const { host, place, restart, told, call, end } = await scene();
  let restarts = 0;
  place.restart = () => (restarts += 1);
  await call();
  await call();
  assert.deepEqual(place.steps, ["fetch 4096", "prepare", "switch"]);
  assert.equal(restarts, 1, "the same order is taken once");
  assert.deepEqual([told()?.archive, told()?.upgrade?.state], ["0a".repeat(32), "restarting"]);
  const states = host.server.reported
    .flatMap(({ value }) => (value as HostObservation | null)?.installation?.upgrade ?? [])
    .map(({ state }) => state);
  assert.deepEqual([...new Set(states)], ["fetching", "testing", "restarting"]);

  await restart();
  assert.deepEqual([told()?.archive, told()?.trial, told()?.upgrade?.state], [order.sha256, true, "restarting"]);
  await host.clock.advance(4000);
  host.server.cut();
  await host.clock.advance(3000);
  assert.equal(told()?.trial, true, "a connection that breaks begins the time anew");
  await host.clock.advance(6000);
  assert.deepEqual([told()?.trial, told()?.upgrade?.state, place.steps.at(-1)], [undefined, "done", "prove"]);
  await restart();
  assert.deepEqual([told()?.trial, told()?.upgrade?.state], [undefined, "done"]);
  await end();
});

test("a new version that reaches no server does not prove itself, however long it lives", async () => {
  const { host, place, restart, call, end } = await scene();
  await call();
  host.server.reachable = false;
  await restart();
  await host.clock.advance(600_000);
  assert.equal(place.trial, true);
  host.server.reachable = true;
  await host.clock.advance(20_000);
  assert.equal(place.trial, false);
  await end();
});

test("what the host went back from is told, with the reason; the order is not taken again, another one is", async () => {
  const { place, restart, told, call, end } = await scene();
  await call();
  place.current = "0a".repeat(32);
  place.trial = false;
  place.givenUp = "it ended 3 times";
  await restart();
  const failed = told()?.upgrade;
  assert.deepEqual([failed?.state, failed?.problem?.code], ["failed", "upgrade-failed"]);
  assert.match(failed?.problem?.detail ?? "", /went back from version 0\.2\.0: it ended 3 times/);
  const before = place.steps.length;
  await call();
  assert.equal(place.steps.length, before);
  await call({ ...order, order: "task-2" });
  assert.equal(place.steps.length, before + 3);
  await end();
});

for (const failsAt of ["fetch 4096", "prepare", "switch"])
  test(`a step that fails leaves the present version at work, and is told with its code: ${failsAt}`, async () => {
    const { place, told, call, restart, end } = await scene();
    place.failsAt = failsAt;
    place.restart = () => assert.fail("it restarts");
    await call();
    assert.deepEqual(
      [told()?.upgrade?.state, told()?.upgrade?.problem],
      ["failed", { code: "no-capacity", detail: "the disk is full", next: "Free space." }],
    );
    await restart();
    assert.equal(told()?.upgrade?.state, "failed", "it is remembered");
    await end();
  });

test("an agent that cannot be replaced says so, and refuses the order", async () => {
  const host = await siteHost();
  assert.deepEqual(host.server.part<HostObservation>("host", host.id)?.installation, { platform: "linux-x64", fixed: "it is played" });
  const answer = host.server.call("agent.upgrade", order);
  answer.catch(() => {});
  await host.settle();
  await assert.rejects(answer, { code: "state-refused", message: "it is played" });
  await host.stop();
});

async function alone(clock: SimulatedClock, place: PlayedPlace, migrating: () => boolean = () => false): Promise<AgentUpgrade> {
  return AgentUpgrade.open({
    clock,
    logger: silentLogger,
    kept: await KeptState.open({ files: new SimulatedFiles({}), logger: silentLogger, directory: "/data" }),
    installation: place.installation,
    dialer: new SimulatedServer(),
    identity: () => ({ hostId: "h", serverUrl: "https://s:7444", certificate: "", privateKey: "", authority: "" }),
    migrating,
    changed: () => {},
    signal: new AbortController().signal,
  });
}

test("a break too short for a look counts all the same", { timeout: 10_000 }, async () => {
  const clock = new SimulatedClock();
  const place = new PlayedPlace(clock);
  place.trial = true;
  const upgrade = await alone(clock, place);
  assert.ok((await upgrade.look(true)) !== undefined);
  await clock.advance(4900);
  upgrade.disconnected();
  await upgrade.look(true);
  await clock.advance(4900);
  assert.ok((await upgrade.look(true)) !== undefined, "its time began anew");
  await clock.advance(200);
  const proving = upgrade.look(true);
  await clock.advance(1000);
  assert.deepEqual([await proving, place.trial], [undefined, false]);
});

test("while machines move from or to the host, the switch waits", async () => {
  const clock = new SimulatedClock();
  const place = new PlayedPlace(clock);
  let migrating = true;
  const upgrade = await alone(clock, place, () => migrating);
  await upgrade.order(order);
  await clock.advance(60_000);
  assert.deepEqual([place.steps, upgrade.facts.upgrade?.state], [["fetch 0", "prepare"], "waiting"]);
  await assert.rejects(upgrade.order({ ...order, order: "task-2" }), { code: "state-refused" });
  migrating = false;
  await clock.advance(5000);
  assert.deepEqual([place.steps.at(-1), upgrade.facts.upgrade?.state], ["switch", "restarting"]);
});
