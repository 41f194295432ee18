/**
 * What goes wrong in a data centre that is shown to people: now and then, at random, never so much at once that it would stop acting by
 * itself; everything comes back after a while, as if somebody cared for it. For the demonstration; the simulator draws its faults from a
 * plan (`fault-plan.ts`).
 */
import type { Clock, Timer } from "@sheaf/base";
import { Chance } from "./chance.ts";
import type { DataCentre } from "./data-centre.ts";
import type { SimulatedHost } from "./simulated-host.ts";

/** Kinds with how often they come, out of all. */
const kinds = [
  ["guest-crash", 35],
  ["guest-shutdown", 15],
  ["agent-crash", 20],
  ["libvirt-restart", 15],
  ["power-loss", 15],
] as const;
type Kind = (typeof kinds)[number][0];

const technicianMs = 10_000;
/** Until somebody has switched a host on again. */
const offMs = [60_000, 180_000] as const;
/** Share of the hosts that may be without power at once; one always may. */
const offShare = 0.02;

export class Failures {
  readonly #dataCentre: DataCentre;
  readonly #clock: Clock;
  readonly #chance: Chance;
  readonly #everyMs: number;
  readonly #tell: (text: string) => void;
  readonly #timers = new Set<Timer>();
  /** When each host without power gets it back; monotonic ms. */
  readonly #onAgainAt = new Map<SimulatedHost, number>();

  /** @param everyMs between two of them, on average */
  constructor(
    dataCentre: DataCentre,
    options: { readonly clock: Clock; readonly seed: number; readonly everyMs: number; readonly tell: (text: string) => void },
  ) {
    this.#dataCentre = dataCentre;
    this.#clock = options.clock;
    this.#chance = new Chance(options.seed, "failures");
    this.#everyMs = options.everyMs;
    this.#tell = options.tell;
  }

  start(): void {
    this.#later(this.#everyMs, () => this.#next());
    this.#later(technicianMs, () => this.#technician());
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #next(): void {
    this.#make(this.#drawn());
    this.#later(this.#chance.between(this.#everyMs / 2, this.#everyMs * 1.5), () => this.#next());
  }

  #drawn(): Kind {
    let left = this.#chance.between(
      1,
      kinds.reduce((sum, [, share]) => sum + share, 0),
    );
    for (const [kind, share] of kinds) if ((left -= share) <= 0) return kind;
    return kinds[0][0];
  }

  #make(kind: Kind): void {
    const { hosts } = this.#dataCentre;
    const host = this.#chance.pick(hosts);
    if (!host.powered) return;
    switch (kind) {
      case "guest-crash":
      case "guest-shutdown": {
        const guest = host.guest(this.#chance.between(0, 1000));
        if (guest === null) return;
        host.hypervisor.inner.stop(guest, kind === "guest-crash" ? "crashed" : "shutdown");
        return this.#tell(`${host.name}: the guest ${guest} ${kind === "guest-crash" ? "crashes" : "shuts itself down"}`);
      }
      case "agent-crash":
        host.crashAgent();
        this.#later(2000, () => host.startAgent());
        return this.#tell(`${host.name}: the agent is killed`);
      case "libvirt-restart":
        host.stopLibvirt();
        this.#later(5000, () => (host.powered ? host.startLibvirt() : undefined));
        return this.#tell(`${host.name}: libvirtd restarts`);
      case "power-loss": {
        const off = hosts.filter(({ powered }) => !powered).length;
        if (off + 1 > Math.max(1, Math.floor(hosts.length * offShare))) return;
        host.powerOff();
        return this.#tell(`${host.name}: power is lost`);
      }
    }
  }

  /** Switches on what is off, whoever switched it off. O(hosts), rarely. */
  #technician(): void {
    const now = this.#clock.monotonic();
    for (const host of this.#dataCentre.hosts) {
      const at = this.#onAgainAt.get(host);
      if (host.powered) this.#onAgainAt.delete(host);
      else if (at === undefined) this.#onAgainAt.set(host, now + this.#chance.between(...offMs));
      else if (at <= now) {
        host.powerOn();
        this.#tell(`${host.name}: power is back`);
      }
    }
    this.#later(technicianMs, () => this.#technician());
  }

  #later(delayMs: number, run: () => void): void {
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }
}
