/** Makes planned faults happen to a site, and ends them: each by its own time, all of them when the run's end comes. */
import type { Fault, FaultKind } from "./fault-plan.ts";
import { type BmcFault, fencingTypes } from "./simulated-bmcs.ts";
import type { SimulatedHost } from "./simulated-host.ts";
import type { SimulatedSite } from "./site.ts";
import type { DiskState } from "./store-disk.ts";

const restartMs = 2000;

/** After these the server may not hear a host's pulse. */
const hushing = new Set<FaultKind>([
  "power-loss",
  "feed-loss",
  "reboot",
  "host-hang",
  "partition",
  "partition-to-host",
  "partition-from-host",
  "slow-network",
  "lossy-network",
]);

const bmcFaults = {
  "bmc-fails": ["fails", "fails"],
  "bmc-slow": ["slow", "is slow"],
  "bmc-denies": ["denies", "denies what it does"],
  "bmc-lies": ["lies", "says that it did what it did not"],
} as const satisfies Partial<Record<FaultKind, readonly [BmcFault, string]>>;

export class FaultMaker {
  readonly #site: SimulatedSite;
  /** What ends each fault that lasts. */
  readonly #ends = new Map<() => void, string>();

  /** Those that wait for a migration to come to their moment. */
  readonly #armed: Fault[] = [];

  constructor(site: SimulatedSite) {
    this.#site = site;
    site.records.subscribe(({ parts }) => {
      if (this.#armed.length === 0) return;
      for (const { kind, part, now, before } of parts)
        if (kind === "vm" && part === "status/migration" && now && now.phase !== before?.phase) this.#strike(now);
    });
  }

  /** @returns false where there was nothing to do it to */
  make(fault: Fault): boolean {
    if (fault.moment) return this.#armed.push(fault) > 0;
    const host = this.#site.hosts[fault.host % this.#site.hosts.length];
    const what = host ? this.#begin(fault, host) : null;
    if (what === null) return false;
    if (fault.kind === "wide-outage") for (const each of this.#site.hosts) each.hush(fault.forMs);
    else if (hushing.has(fault.kind)) host?.hush(fault.forMs);
    this.#site.story.tell("fault", what);
    return true;
  }

  /** Hosts, their network and the server's process are well from now on; what lasts elsewhere lasts. */
  healHosts(): void {
    this.#healHosts();
    this.#site.story.tell("fault", "hosts and network are well from now on");
  }

  #healHosts(): void {
    this.#armed.length = 0;
    for (const [end, kind] of this.#ends) if (!kind.startsWith("store-") && kind !== "answers-lost") end();
    for (const host of this.#site.hosts) {
      host.powerOn();
      host.startAgent();
      host.startLibvirt();
      host.hypervisor.inner.deaf.clear();
    }
    for (const server of this.#site.servers) if (!server.runs) this.#site.startServer(server);
  }

  /** All is well from now on: power, network, disks, clocks, processes. */
  healAll(): void {
    for (const end of this.#ends.keys()) end();
    this.#healHosts();
    this.#site.story.tell("fault", "all faults end");
  }

  #strike(migration: { readonly phase: string; readonly source: string; readonly target: string }): void {
    const at = this.#armed.findIndex(({ moment }) => moment?.phase === migration.phase);
    const [fault] = at < 0 ? [] : this.#armed.splice(at, 1);
    if (!fault?.moment) return;
    const { side, delayMs } = fault.moment;
    const host = this.#site.hosts.findIndex(({ id }) => id === migration[side]);
    const { moment: _moment, ...plain } = fault;
    if (host >= 0) this.#site.clock.setTimer(delayMs, () => this.make({ ...plain, host }));
  }

  /** @returns what to tell, or `null` where nothing could be done */
  #begin({ kind, forMs, amount, host: number }: Fault, host: SimulatedHost): string | null {
    const { servers, network, clock, operator } = this.#site;
    // As good a number as any to choose a server by.
    const server = servers[(number + amount) % servers.length] ?? this.#site.server;
    const { name } = host;
    const nodes = servers.map(({ node }) => node);
    const disks = (change: (disk: DiskState) => void): void => servers.forEach(({ disk }) => change(disk));
    const lasting = (text: string, end: () => void, ended: string): string => {
      this.#lasts(kind, forMs, end, ended);
      return `${text} for ${forMs / 1000} s`;
    };
    switch (kind) {
      case "agent-crash":
        if (!host.agentRuns) return null;
        host.crashAgent(amount, () => {
          this.#site.story.tell("fault", `${name}: the agent is killed`);
          clock.setTimer(restartMs, () => host.startAgent());
        });
        return `${name}: the agent will be killed after ${amount} more steps`;
      case "agent-hang":
        host.freezeAgent();
        return lasting(`${name}: the agent hangs`, () => host.thawAgent(), `${name}: the agent goes on`);
      case "power-loss":
        if (!host.powered) return null;
        host.powerOff();
        return lasting(`${name}: power is lost`, () => host.powerOn(), `${name}: power is back`);
      case "reboot":
        if (!host.powered) return null;
        host.powerOff();
        this.#lasts(kind, 20_000, () => host.powerOn(), `${name}: has started again`);
        return `${name}: restarts`;
      case "host-hang":
        // Its guests run on; nobody hears of it.
        host.freeze();
        this.#cut(name, nodes, true, true);
        return lasting(
          `${name}: hangs, its guests run on`,
          () => {
            this.#join(name, nodes);
            host.thaw();
          },
          `${name}: goes on`,
        );
      case "server-crash":
        if (!server.ready) return null;
        server.crash(amount, () => {
          this.#site.story.tell("fault", `${server.title} is killed`);
          clock.setTimer(restartMs, () => this.#site.startServer(server));
        });
        return `${server.title} will be killed after ${amount} more steps`;
      case "server-restart":
        if (!server.ready) return null;
        void server.stop().then(() => clock.setTimer(restartMs, () => this.#site.startServer(server)));
        return `${server.title} is restarted`;
      case "server-hang":
        server.freeze();
        return lasting(`${server.title} hangs`, () => server.thaw(), `${server.title} goes on`);
      case "partition":
        this.#cut(name, nodes, true, true);
        return lasting(`${name}: the network to the server is cut`, () => this.#join(name, nodes), `${name}: the network is back`);
      case "partition-to-host":
        this.#cut(name, nodes, false, true);
        return lasting(`${name}: hears nothing of the server`, () => this.#join(name, nodes), `${name}: hears the server again`);
      case "partition-from-host":
        this.#cut(name, nodes, true, false);
        return lasting(`${name}: is not heard by the server`, () => this.#join(name, nodes), `${name}: is heard again`);
      case "slow-network":
        network.setQuality(name, { delayMs: [50, 50 + amount * 30], loss: 0 });
        return lasting(`${name}: the network is slow`, () => network.setQuality(name, null), `${name}: the network is fast again`);
      case "lossy-network":
        network.setQuality(name, { delayMs: [1, 10], loss: 0.3 });
        return lasting(`${name}: the network loses packets`, () => network.setQuality(name, null), `${name}: the network is good again`);
      case "clock-jump":
        host.clockError.offsetMs += (amount - 30) * 20_000;
        return `${name}: the clock jumps by ${(amount - 30) * 20} s`;
      case "clock-drift":
        host.clockError.rate = 1 + (amount - 30) / 300;
        return lasting(`${name}: the clock drifts`, () => (host.clockError.rate = 1), `${name}: the clock runs right again`);
      case "server-clock-jump":
        server.clockError.offsetMs += (amount - 30) * 20_000;
        return `${server.title}'s clock jumps by ${(amount - 30) * 20} s`;
      case "host-disk-full":
        host.files.full = true;
        return lasting(`${name}: the disk is full`, () => (host.files.full = false), `${name}: the disk has room again`);
      case "host-disk-slow":
        host.files.delayMs = amount * 20;
        return lasting(`${name}: the disk is slow`, () => (host.files.delayMs = 0), `${name}: the disk is fast again`);
      case "server-lost":
        void this.#site
          .backup()
          .then((backup) =>
            this.#lasts(kind, forMs, () => void this.#site.restore(backup), "the server's machine is lost; the backup is restored on a new one"),
          );
        return `a backup of the server is made; ${forMs / 1000} s later its machine is lost`;
      case "store-slow":
        disks((disk) => (disk.syncMs = amount * 30));
        return lasting("the server's disk is slow", () => disks((disk) => (disk.syncMs = 2)), "the server's disk is fast again");
      case "store-full":
        disks((disk) => (disk.full = true));
        return lasting("the server's disk is full", () => disks((disk) => (disk.full = false)), "the server's disk has room again");
      case "store-uncertain":
        disks((disk) => (disk.uncertain = 0.2));
        return lasting("the store's answers get lost", () => disks((disk) => (disk.uncertain = 0)), "the store answers again");
      case "store-unavailable":
        disks((disk) => (disk.unavailable = 0.5));
        return lasting("the store refuses half of all calls", () => disks((disk) => (disk.unavailable = 0)), "the store takes all calls again");
      case "watches-end":
        void server.endWatches(false);
        return "every watch on the store ends";
      case "compaction":
        void server.endWatches(true);
        return "the store is compacted, every watch ends";
      case "server-cut":
        for (const each of this.#site.hosts) this.#cut(each.name, [server.node], true, true);
        return lasting(
          `${server.node}: the network to all hosts is cut`,
          () => this.#site.hosts.forEach((each) => this.#join(each.name, [server.node])),
          `${server.node}: the network to the hosts is back`,
        );
      case "host-server-cut":
        this.#cut(name, [server.node], true, true);
        return lasting(`${name}: the network to ${server.node} is cut`, () => this.#join(name, [server.node]), `${name}: the network is back`);
      case "servers-cut": {
        const others = nodes.filter((node) => node !== server.node);
        this.#cut(server.node, others, true, true);
        return lasting("the network between the servers is cut", () => this.#join(server.node, others), "the servers reach each other again");
      }
      case "store-cut":
        server.cutStore();
        return lasting(`${server.node}: the store is cut off`, () => (server.disk.cut = false), `${server.node}: the store is back`);
      case "server-isolated": {
        const others = [...nodes.filter((node) => node !== server.node), ...this.#site.hosts.map((each) => each.name)];
        this.#cut(server.node, others, true, true);
        server.cutStore();
        return lasting(
          `${server.node}: cut off from all`,
          () => {
            this.#join(server.node, others);
            server.disk.cut = false;
          },
          `${server.node}: reaches all again`,
        );
      }
      case "store-election":
        disks((disk) => (disk.electing = true));
        for (const each of servers) void each.endWatches(false);
        this.#lasts(kind, 500 + amount * 25, () => disks((disk) => (disk.electing = false)), "the store has a leader");
        return "the store's leader is lost";
      case "libvirt-restart":
        if (!host.powered) return null;
        host.stopLibvirt();
        return lasting(`${name}: libvirtd is gone`, () => (host.powered ? host.startLibvirt() : undefined), `${name}: libvirtd is back`);
      case "libvirt-refuses":
        host.hypervisor.faults.refuses = 0.3;
        return lasting(
          `${name}: libvirt refuses a third of all steps`,
          () => (host.hypervisor.faults.refuses = 0),
          `${name}: libvirt does as it is told`,
        );
      case "libvirt-lies":
        host.hypervisor.faults.lies = 0.3;
        return lasting(`${name}: libvirt does not answer a third of all steps`, () => (host.hypervisor.faults.lies = 0), `${name}: libvirt answers`);
      case "guest-crash":
        return this.#guest(host, amount, "crashes", (uuid) => host.hypervisor.inner.stop(uuid, "crashed"));
      case "guest-shutdown":
        return this.#guest(host, amount, "shuts itself down", (uuid) => host.hypervisor.inner.stop(uuid, "shutdown"));
      case "guest-deaf":
        return this.#guest(host, amount, "does not listen to its power button any more", (uuid) => host.hypervisor.inner.deaf.add(uuid));
      case "feed-loss":
        if (!host.powered) return null;
        host.powerOff();
        this.#site.bmcs.set(name, ["ipmi", "redfish"], "gone");
        return lasting(
          `${name}: power is lost, its management controller's too`,
          () => {
            this.#site.bmcs.set(name, ["ipmi", "redfish"], null);
            host.powerOn();
          },
          `${name}: power is back`,
        );
      case "wide-outage":
        for (const each of this.#site.hosts) this.#cut(each.name, nodes, true, true);
        return lasting(
          "the network to all hosts is cut",
          () => this.#site.hosts.forEach((each) => this.#join(each.name, nodes)),
          "the network to the hosts is back",
        );
      case "storage-cut":
        host.files.storageCut = true;
        return lasting(`${name}: the shared storage is cut off`, () => (host.files.storageCut = false), `${name}: the shared storage is back`);
      case "bmc-fails":
      case "bmc-slow":
      case "bmc-denies":
      case "bmc-lies": {
        const [fault, what] = bmcFaults[kind];
        const types = amount % 2 === 0 ? fencingTypes : (["ipmi"] as const);
        this.#site.bmcs.set(name, types, fault);
        return lasting(
          `${name}: ${types.length === 1 ? "its management controller" : "all that could cut its power"} ${what}`,
          () => this.#site.bmcs.set(name, types, null),
          `${name}: its power can be cut again`,
        );
      }
      case "answers-lost":
        operator.lostAnswers = 0.3;
        return lasting("a third of the API's answers get lost", () => (operator.lostAnswers = 0), "the API's answers arrive");
      default:
        return null;
    }
  }

  #lasts(kind: string, forMs: number, end: () => void, ended: string): void {
    const timer = this.#site.clock.setTimer(forMs, () => {
      this.#ends.delete(once);
      end();
      this.#site.story.tell("fault", ended);
    });
    const once = (): void => {
      timer.cancel();
      this.#ends.delete(once);
      end();
    };
    this.#ends.set(once, kind);
  }

  #cut(a: string, others: readonly string[], from: boolean, to: boolean): void {
    for (const b of others) {
      if (from) this.#site.network.block(a, b);
      if (to) this.#site.network.block(b, a);
    }
  }

  #join(a: string, others: readonly string[]): void {
    for (const b of others) {
      this.#site.network.unblock(a, b);
      this.#site.network.unblock(b, a);
    }
  }

  #guest(host: SimulatedHost, number: number, what: string, change: (uuid: string) => void): string | null {
    const uuid = host.powered ? host.guest(number) : null;
    if (uuid === null) return null;
    change(uuid);
    return `${this.#site.records.name("vm", uuid)} on ${host.name} ${what}`;
  }
}
