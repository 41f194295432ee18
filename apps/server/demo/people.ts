/**
 * Those who work in a demonstration's data centre: they make machines, move, stop, start and remove them, and empty a host now and then,
 * through the API like anyone, as a user of their own. They keep to machines that were there or that they made: what a visitor makes is
 * the visitor's.
 */
import { type Clock, type Random, randomInt, seededRandom, type Timer, toHex } from "@sheaf/base";
import { localClient, type LocalClient } from "../deployment/local-client.ts";
import type { ServerFacts } from "../deployment/server-process.ts";

const userName = "people";
/** Operators may not empty a host. */
const caretaker = "caretaker";
const mib = 2 ** 20;
/** Machines of their own making at most. */
const ownMost = 40;
/** A host that was emptied takes machines again after this long. */
const emptyMs = 60_000;
/** Kinds of deeds with how often each is done, out of all. */
const deeds = [
  ["migrate", 34],
  ["create", 18],
  ["delete", 14],
  ["reboot", 10],
  ["stop", 8],
  ["start", 14],
  ["drain", 2],
] as const;
type Deed = (typeof deeds)[number][0];

export interface PeopleOptions {
  readonly clock: Clock;
  readonly seed: number;
  /** Between two deeds, on average. */
  readonly everyMs: number;
  /** Names of the machines and hosts that were there from the beginning. */
  readonly machines: readonly string[];
  readonly hosts: readonly string[];
  readonly tell: (text: string) => void;
}

export class People {
  readonly #client: LocalClient;
  readonly #options: PeopleOptions;
  readonly #random: Random;
  readonly #own: string[] = [];
  readonly #stopped: string[] = [];
  #made = 0;
  #timer: Timer | null = null;

  private constructor(client: LocalClient, options: PeopleOptions) {
    this.#client = client;
    this.#options = options;
    this.#random = seededRandom(options.seed);
  }

  /** Makes their user, with a password that nobody knows, and signs them in. */
  static async signIn(dataDirectory: string, server: ServerFacts, random: Random, options: PeopleOptions): Promise<People> {
    const administrator = await localClient(dataDirectory, server);
    try {
      const password = toHex(random.bytes(16));
      await administrator.role.create({ body: { name: caretaker, spec: { privileges: ["host.maintain"] } } });
      const spec = { grants: ["operator", caretaker].map((role) => ({ role, project: "*" as const })) };
      await administrator.user.create({ body: { name: userName, labels: { simulated: "true" }, spec } });
      await administrator.user.setPassword({ params: { id: userName }, body: { password } });
      return new People(await localClient(dataDirectory, server, { user: userName, password }), options);
    } finally {
      administrator.close();
    }
  }

  start(): void {
    const { clock, everyMs } = this.#options;
    this.#timer = clock.setTimer(everyMs / 2 + randomInt(this.#random, everyMs), () => {
      void this.#do(this.#drawn()).catch((error: unknown) =>
        this.#options.tell(`refused: ${error instanceof Error ? error.message : String(error)}`),
      );
      this.start();
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#client.close();
  }

  #drawn(): Deed {
    const all = deeds.reduce((sum, [, share]) => sum + share, 0);
    let left = randomInt(this.#random, all);
    for (const [deed, share] of deeds) if ((left -= share) < 0) return deed;
    return "migrate";
  }

  /** Refusals are part of life: the machine is stopped, moving, or gone. */
  async #do(deed: Deed): Promise<void> {
    const { vm } = this.#client;
    const id = this.#pick(this.#options.machines) ?? "";
    switch (deed) {
      case "create":
        return this.#own.length < ownMost ? this.#create() : this.#delete();
      case "delete":
        return this.#delete();
      case "migrate":
        await vm.migrate({ params: { id }, body: {} });
        return;
      case "reboot":
        await vm.reboot({ params: { id }, body: {} });
        return;
      case "stop":
        await vm.stop({ params: { id }, body: {} });
        this.#stopped.push(id);
        return;
      case "start": {
        const stopped = this.#stopped.shift();
        if (stopped !== undefined) await vm.start({ params: { id: stopped }, body: {} });
        return;
      }
      case "drain":
        return this.#drain();
    }
  }

  async #create(): Promise<void> {
    this.#made += 1;
    const name = `desk-${String(this.#made).padStart(4, "0")}`;
    const disks = [{ name: "root", pool: "shared", image: "mini", sizeBytes: 4096 * mib }];
    const memory = { bytes: (1 + randomInt(this.#random, 4)) * 1024 * mib };
    await this.#client.vm.create({
      body: { name, labels: { simulated: "true", service: "desk" }, spec: { cpu: { count: 2 }, memory, disks, highlyAvailable: true } },
    });
    this.#own.push(name);
  }

  async #delete(): Promise<void> {
    const id = this.#own.shift();
    if (id !== undefined) await this.#client.vm.delete({ params: { id } });
  }

  async #drain(): Promise<void> {
    const { hosts, clock } = this.#options;
    const id = this.#pick(hosts);
    // Where there are few, all are needed.
    if (id === undefined || hosts.length < 4) return;
    await this.#client.host.drain({ params: { id }, body: {} });
    clock.setTimer(emptyMs, () => void this.#client.host.activate({ params: { id }, body: {} }).catch(() => {}));
  }

  #pick(list: readonly string[]): string | undefined {
    return list.length === 0 ? undefined : list[randomInt(this.#random, list.length)];
  }
}
