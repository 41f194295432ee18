/** Does what people planned: picks a machine or host that is there now and asks the API for it. Answers are awaited beside the run. */
import type { Deed } from "./fault-plan.ts";
import type { SimulatedHost } from "./simulated-host.ts";
import type { SimulatedSite } from "./site.ts";

const mib = 2 ** 20;
/** What somebody cut off, somebody switches on again. */
const switchedOnAfterMs = 90_000;
/** How long machines wait for others to run. */
const afterAtMostMs = [20_000, 60_000, 180_000] as const;
const namesOf = ["web", "db", "mail", "build", "cache", "desk"] as const;

export class DeedMaker {
  readonly #site: SimulatedSite;
  /** Machines at most; beyond, a creation becomes a deletion. */
  readonly #most: number;
  #made = 0;

  constructor(site: SimulatedSite, most: number) {
    this.#site = site;
    this.#most = most;
    site.wasCutOff = (host) => void site.clock.setTimer(switchedOnAfterMs, () => host.powerOn());
  }

  make(deed: Deed): void {
    const { kind, pick, amount } = deed;
    switch (kind) {
      case "create":
        return this.#create(pick, amount);
      case "create-many":
        for (let index = 0; index < 5; index += 1) this.#create(pick + index, amount + index * 7);
        return;
      case "grow":
        return this.#withMachine(pick, (id, name) => {
          const bytes = (this.#spec(id).memory.bytes as number) + 64 * mib;
          this.#ask(`grows the memory of ${name}`, "PATCH", `/vms/${id}`, { spec: { memory: { bytes, maximumBytes: null } } });
        });
      case "relabel":
        return this.#withMachine(pick, (id, name) => this.#ask(`labels ${name}`, "PATCH", `/vms/${id}`, { labels: { turn: String(amount) } }));
      case "delete":
        return this.#withMachine(pick, (id, name) => this.#ask(`deletes ${name}`, "DELETE", `/vms/${id}`));
      case "delete-moving":
        return this.#withMoving(pick, (id, name) => this.#ask(`deletes ${name}, which is moving`, "DELETE", `/vms/${id}`));
      case "stop-moving":
        return this.#withMoving(pick, (id, name) => this.#ask(`stops ${name}, which is moving`, "POST", `/vms/${id}/stop`, {}));
      case "cancel":
        return this.#withMoving(pick, (id, name) => {
          const task: string = this.#site.records.part("vm", id, "status/migration").task;
          this.#ask(`cancels the migration of ${name}`, "POST", `/tasks/${task}/cancel`, {});
        });
      case "drain":
        return this.#drain(pick);
      case "drain-two":
        this.#drain(pick);
        return this.#drain(pick + 1);
      case "activate":
        return this.#activate(pick);
      case "fence":
        return this.#withLost(pick, (host) => this.#ask(`has ${host.name} cut off`, "POST", `/hosts/${host.id}/fence`, {}));
      case "confirm-off":
        return this.#confirmOff(pick);
      case "stop":
        return this.#withMachine(pick, (id, name) =>
          this.#ask(`stops ${name}`, "POST", `/vms/${id}/stop`, amount % 3 === 0 ? { graceMs: 5000 } : {}),
        );
      case "migrate":
        return this.#withMachine(pick, (id, name) => {
          const host = this.#site.hosts[amount % this.#site.hosts.length];
          const to = amount % 2 === 0 && host ? { host: host.name } : {};
          this.#ask(`moves ${name}${to.host === undefined ? "" : ` to ${to.host}`}`, "POST", `/vms/${id}/migrate`, to);
        });
      case "start":
      case "force-off":
      case "pause":
      case "resume":
      case "reboot":
      case "reset":
        return this.#withMachine(pick, (id, name) => this.#ask(`${kind} ${name}`, "POST", `/vms/${id}/${kind}`, {}));
    }
  }

  #create(pick: number, amount: number): void {
    const there = [...this.#site.records.ids("vm")].length;
    if (there >= this.#most) return this.#withMachine(pick, (id, name) => this.#ask(`deletes ${name}`, "DELETE", `/vms/${id}`));
    this.#made += 1;
    const name = `${namesOf[pick % namesOf.length]}-${this.#made}`;
    const pool = amount % 2 === 0 ? "shared" : "local";
    const disks = [
      { name: "root", pool, ...(amount % 3 === 0 ? { sizeBytes: 2 ** 30 } : { image: "mini" }) },
      ...(amount % 5 === 0 ? [{ name: "data", pool: amount % 10 === 0 ? "shared" : "local", sizeBytes: 2 ** 31 }] : []),
    ];
    const after = amount % 5 < 2 ? this.#startedAfter(pick, amount) : {};
    const restart = amount % 4 === 0 || "after" in after ? { ...(amount % 4 === 0 ? { onGuestShutdown: "restart" } : {}), ...after } : undefined;
    const spec = {
      cpu: { count: 1 + (amount % 4) },
      memory: { bytes: 2 ** 30 * (1 + (amount % 8)) },
      disks,
      nics: [{ name: "eth0", network: "lan" }],
      stopGraceMs: 20_000,
      ...(restart === undefined ? {} : { restart }),
      ...(amount % 7 === 0 ? { placement: { apart: "apart" } } : {}),
      ...(disks.every((disk) => disk.pool === "shared") && amount % 3 !== 1 ? { highlyAvailable: true, priority: amount } : {}),
    };
    this.#ask(`creates ${name} (${pool})`, "POST", "/vms", { name, spec });
  }

  /** One or two that are there; a new machine makes no circle. */
  #startedAfter(pick: number, amount: number): { readonly after?: object } {
    const ids = [...this.#site.records.ids("vm")];
    const machines = new Set([ids[pick % Math.max(1, ids.length)], ids[amount % Math.max(1, ids.length)]].filter((id) => id !== undefined));
    if (machines.size === 0) return {};
    const maximumWaitMs = afterAtMostMs[amount % afterAtMostMs.length];
    return { after: { machines: [...machines], maximumWaitMs, ...(amount % 3 === 0 ? { condition: "guest-answers" } : {}) } };
  }

  #drain(pick: number): void {
    const host = this.#site.hosts[pick % this.#site.hosts.length];
    // One is left to carry the load.
    const open = this.#site.hosts.filter(({ id }) => this.#site.records.part("host", id, "spec")?.spec.schedulable === "open");
    if (host && open.length > 1) this.#ask(`drains ${host.name}`, "POST", `/hosts/${host.id}/drain`, {});
  }

  #activate(pick: number): void {
    const closed = this.#site.hosts.filter(({ id }) => this.#site.records.part("host", id, "spec")?.spec.schedulable !== "open");
    const host = closed[pick % Math.max(1, closed.length)];
    if (host) this.#ask(`activates ${host.name}`, "POST", `/hosts/${host.id}/activate`, {});
  }

  #withLost(pick: number, act: (host: SimulatedHost) => void): void {
    const lost = this.#site.hosts.filter(({ id }) => this.#site.records.part("host", id, "status/liveness")?.state === "unreachable");
    const host = lost[pick % Math.max(1, lost.length)];
    if (host) act(host);
  }

  /** Whoever says that a host is off stands before it, and sees to it that it stays so until Sheaf has taken note. */
  #confirmOff(pick: number): void {
    this.#withLost(pick, (host) => {
      if (host.powered || host.heldOff) return;
      host.heldOff = true;
      const asked = this.#site.operator.ask(`says that ${host.name} is off`, { method: "POST", path: `/hosts/${host.id}/confirm-off`, body: {} });
      void asked.then(() => {
        host.heldOff = false;
        this.#site.clock.setTimer(switchedOnAfterMs, () => host.powerOn());
      });
    });
  }

  #withMachine(pick: number, act: (id: string, name: string) => void): void {
    const ids = [...this.#site.records.ids("vm")];
    const id = ids[pick % Math.max(1, ids.length)];
    if (id !== undefined) act(id, this.#site.records.name("vm", id));
  }

  #withMoving(pick: number, act: (id: string, name: string) => void): void {
    const ids = [...this.#site.records.ids("vm")].filter((id) => this.#site.records.part("vm", id, "status/migration"));
    const id = ids[pick % Math.max(1, ids.length)];
    if (id !== undefined) act(id, this.#site.records.name("vm", id));
  }

  #spec(id: string) {
    return this.#site.records.part("vm", id, "spec").spec;
  }

  #ask(what: string, method: "POST" | "PATCH" | "DELETE", path: string, body?: object): void {
    void this.#site.operator.ask(what, { method, path, ...(body === undefined ? {} : { body }) });
  }
}
