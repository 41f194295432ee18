/** Two servers' agents as one: digests, calls and consoles over a link, and what is concluded when the link or the server is lost. */
import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { silentLogger, SimulatedClock } from "@sheaf/base";
import type { HostLoad, PulseMessage } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import type { AgentSocket } from "../gateway/agent-session.ts";
import type { StreamHandlers } from "../gateway/agent-streams.ts";
import { TaskLogs } from "../gateway/task-logs.ts";
import { moveAllowanceMs } from "./peer-link.ts";
import type { HeldMachine } from "./peer-messages.ts";
import { PeerService, type OwnAgents } from "./peer-service.ts";
import type { SiteServer } from "./server-directory.ts";
import { SiteAgents } from "./site-agents.ts";

type Handlers = Parameters<AgentSocket["listen"]>[0];

/** While set nothing arrives, on any connection. */
let frozen = false;

/** Two ends in memory; `cut` tells both. */
function socketPair(): [AgentSocket & { cut(): void }, AgentSocket] {
  const handlers: (Handlers | null)[] = [null, null];
  const waiting: (string | Uint8Array)[][] = [[], []];
  let open = true;
  const deliver = (to: number, data: string | Uint8Array): void => {
    if (frozen) return;
    const target = handlers[to];
    if (!target) waiting[to]?.push(data);
    else if (typeof data === "string") target.text(data);
    else target.bytes(data);
  };
  const end = (): void => {
    if (!open) return;
    open = false;
    for (const each of handlers) each?.closed(1006, "");
  };
  const side = (me: number): AgentSocket => ({
    send: (data) => {
      if (open) queueMicrotask(() => deliver(1 - me, data));
    },
    unsentBytes: 0,
    ping: () => queueMicrotask(() => (frozen ? undefined : handlers[1 - me]?.alive())),
    close: end,
    cut: end,
    listen: (mine) => {
      handlers[me] = mine;
      for (const data of waiting[me]?.splice(0) ?? []) deliver(me, data);
    },
  });
  return [side(0), side(1)];
}

/** A gateway with agents that answer calls with what they were asked. */
class Agents implements OwnAgents {
  readonly hosts = new Map<string, number>();
  readonly consoles: StreamHandlers[] = [];
  readonly sent: string[] = [];
  readonly #clock: SimulatedClock;
  readonly #listeners = new Set<(event: { hostId: string; connected: boolean }) => void>();

  constructor(clock: SimulatedClock) {
    this.#clock = clock;
  }
  connect(hostId: string): void {
    this.hosts.set(hostId, this.#clock.monotonic());
    for (const listener of this.#listeners) listener({ hostId, connected: true });
  }
  connected(hostId: string): boolean {
    return this.hosts.has(hostId);
  }
  lastHeardAt(hostId: string): number | null {
    return this.hosts.get(hostId) ?? null;
  }
  bootId(): string {
    return "boot";
  }
  jitterMs(): number {
    return 7;
  }
  readonly heardPulses = new Map<string, { heardAt: number; message: PulseMessage; grantedAt: number | null }>();
  pulse(hostId: string) {
    return this.heardPulses.get(hostId) ?? null;
  }
  readonly loads = new Map<string, HostLoad>();
  load(hostId: string): HostLoad | null {
    return this.loads.get(hostId) ?? null;
  }
  *pulses() {
    for (const [hostId, pulse] of this.heardPulses) yield { hostId, ...pulse };
  }
  *heard() {
    for (const [hostId, at] of this.hosts) yield { hostId, at, jitterMs: 7, bootId: "boot" };
  }
  async call(
    hostId: string,
    method: string,
    parameters: unknown,
    options: { onProgress?: (fields: Record<string, unknown>) => void },
  ): Promise<never> {
    if (!this.hosts.has(hostId)) throw new SheafError("host-unreachable", "not here");
    options.onProgress?.({ done: 1 });
    return { hostId, method, parameters } as never; // echoes, whatever the method's answer would be
  }
  async openConsole(_hostId: string, _console: unknown, handlers: StreamHandlers) {
    this.consoles.push(handlers);
    return { number: 1, send: (bytes: Uint8Array) => this.sent.push(Buffer.from(bytes).toString()), close: () => this.sent.push("closed") };
  }
  subscribe(listener: (event: { hostId: string; connected: boolean }) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

describe("the agents of two servers", () => {
  let clock: SimulatedClock;
  let here: Agents;
  let there: Agents;
  let site: SiteAgents;
  let servers: SiteServer[];
  let sockets: AgentSocket[];
  let reachable: boolean;
  let storeSilentThereMs: number;
  let directoryChanged: () => void;
  let tasksHere: TaskLogs;
  let tasksThere: TaskLogs;
  let held: [string, readonly HeldMachine[]][];
  const host = "0192a3b4-0000-7000-8000-000000000001";

  beforeEach(async () => {
    clock = new SimulatedClock();
    here = new Agents(clock);
    there = new Agents(clock);
    tasksHere = new TaskLogs(clock);
    tasksThere = new TaskLogs(clock);
    sockets = [];
    held = [];
    reachable = true;
    storeSilentThereMs = 0;
    servers = [{ name: "b", url: "https://b", agentUrl: "https://b:7444", version: "1", present: true }];
    const machines = [{ id: "m", epoch: 3, incarnation: "i" }];
    const service = new PeerService({
      agents: there,
      tasks: tasksThere,
      held: { all: () => [["early", machines]], onHeld: () => () => {} },
      storeSilentMs: () => storeSilentThereMs,
      figures: {
        answer: async (question) => {
          if (!("series" in question)) throw new Error("the disk does not answer");
          return { asked: question.series.id };
        },
      },
      clock,
      logger: silentLogger,
    });
    site = new SiteAgents({
      own: here,
      directory: {
        get others() {
          return servers;
        },
        subscribe: (listener) => {
          directoryChanged = listener;
          return () => {};
        },
      },
      dial: async () => {
        if (!reachable) throw new Error("no route");
        const [mine, theirs] = socketPair();
        sockets.push(mine);
        service.accept(theirs);
        return mine;
      },
      clock,
      logger: silentLogger,
      tasks: tasksHere,
      held: (hostId, list) => held.push([hostId, list]),
    });
    await clock.advance(10);
  });

  const lose = async (): Promise<void> => {
    reachable = false;
    sockets.at(-1)?.cut();
    await clock.advance(1);
  };

  it("knows the load of hosts that another server hears, as long as they are there", async () => {
    const load: HostLoad = { cpu: 0.5, memoryUsedBytes: 1, memoryTotalBytes: 2, vms: [] };
    there.connect(host);
    there.loads.set(host, load);
    await clock.advance(16_000);
    assert.deepEqual(site.load(host), load);
    here.loads.set(host, { ...load, cpu: 0.7 });
    assert.equal(site.load(host)?.cpu, 0.7, "its own word is newer");
    here.loads.clear();
    await lose();
    assert.equal(site.load(host), null);
  });

  it("hears a host through the other server, and that it falls silent there", async () => {
    const events: { hostId: string; connected: boolean }[] = [];
    site.subscribe((event) => events.push(event));
    there.connect(host);
    await clock.advance(1);
    assert.equal(site.connected(host), true);
    assert.deepEqual(events, [{ hostId: host, connected: true }]);
    await clock.advance(6000);
    assert.ok(clock.monotonic() - (site.lastHeardAt(host) ?? 0) >= 6000, "silence there is silence here");
    there.hosts.set(host, clock.monotonic());
    await clock.advance(1100);
    assert.ok(clock.monotonic() - (site.lastHeardAt(host) ?? 0) <= 1200);
    assert.equal(site.jitterMs(host), 7);
    assert.equal(site.bootId(host), "boot");
    const message = { bootId: "b", sequence: 4, agentSilentMs: 0 };
    there.heardPulses.set(host, { heardAt: clock.monotonic(), message, grantedAt: null });
    await clock.advance(1100);
    assert.deepEqual(site.pulse(host)?.message, message);
    assert.ok(clock.monotonic() - (site.pulse(host)?.heardAt ?? 0) <= 1200);
    assert.deepEqual(held, [["early", [{ id: "m", epoch: 3, incarnation: "i" }]]]);
  });

  it("asks the other server for its figures, and does without where it has none, fails, or is gone", async () => {
    const series = { kind: "vm", id: "m", metrics: ["cpu"], from: 0, to: 1, by: "mean" } as const;
    assert.deepEqual(await site.figures({ series }), [{ asked: "m" }]);
    const top = { kind: "vm", metric: "cpu", windowMs: 1, by: "mean", count: 1 } as const;
    assert.deepEqual(await site.figures({ top, scope: "everything" }), []);
    const late = site.figures({ series });
    await lose();
    assert.deepEqual(await late, []);
    assert.deepEqual(await site.figures({ series }), []);
  });

  it("knows what the other servers carry, as long as each of them is reached and has the store", async () => {
    there.connect(host);
    await clock.advance(1100);
    assert.deepEqual([site.agentsOf("b"), site.loads], [1, [{ agentUrl: "https://b:7444", agents: 1 }]]);
    storeSilentThereMs = 4000;
    await clock.advance(1100);
    assert.deepEqual([site.agentsOf("b"), site.loads], [1, null]);
    storeSilentThereMs = 0;
    await clock.advance(1100);
    assert.notEqual(site.loads, null);
    reachable = false;
    sockets.at(-1)?.cut();
    assert.deepEqual([site.agentsOf("b"), site.loads], [undefined, null]);
    servers = servers.map((server) => ({ ...server, present: false }));
    directoryChanged();
    assert.deepEqual(site.loads, [], "one that is gone is not waited for");
  });

  it("passes on calls with progress, errors and the log of tasks", async () => {
    there.connect(host);
    await clock.advance(1);
    const progress: unknown[] = [];
    const answer = site.call(host, "host.logs", { lines: 3, taskId: "t" } as { lines: number }, {
      timeoutMs: 1000,
      onProgress: (fields) => progress.push(fields),
    });
    await clock.advance(5);
    assert.deepEqual(await answer, { hostId: host, method: "host.logs", parameters: { lines: 3, taskId: "t" } });
    assert.deepEqual(progress, [{ done: 1 }]);
    there.hosts.delete(host);
    const refused = assert.rejects(site.call(host, "host.logs", { lines: 1 }, { timeoutMs: 1000 }), { code: "host-unreachable" });
    await clock.advance(5);
    await refused;
    tasksThere.append("task", "copied", 5);
    tasksThere.progress("task", { bytes: 7 });
    await clock.advance(1);
    assert.deepEqual(tasksHere.reader.lines("task"), [{ at: 5, text: "copied" }]);
    assert.deepEqual(tasksHere.reader.progress("task"), { bytes: 7 });
  });

  it("carries consoles, both ways, until one side ends", async () => {
    there.connect(host);
    await clock.advance(1);
    const came: string[] = [];
    const opening = site.openConsole(
      host,
      { vmId: "v", type: "serial" },
      { bytes: (bytes) => came.push(Buffer.from(bytes).toString()), ended: (reason) => came.push(`ended ${reason ?? ""}`) },
      1000,
    );
    await clock.advance(5);
    const stream = await opening;
    stream.send(Buffer.from("typed"));
    there.consoles[0]?.bytes(Buffer.from("shown"));
    await clock.advance(5);
    assert.deepEqual([came, there.sent], [["shown"], ["typed"]]);
    await lose();
    assert.deepEqual(there.sent, ["typed", "closed"]);
    assert.match(came.at(-1) ?? "", /^ended/);
  });

  it("a call under way when the link is lost says that it may have been done", async () => {
    there.connect(host);
    await clock.advance(1);
    there.call = () => new Promise(() => {});
    const pending = assert.rejects(site.call(host, "host.logs", { lines: 1 }, { timeoutMs: 60_000 }), { code: "host-unreachable" });
    await clock.advance(5);
    await lose();
    await pending;
  });

  it("a server that runs but is not reached makes none of its hosts look silent", async () => {
    there.connect(host);
    await clock.advance(1);
    await lose();
    await clock.advance(120_000);
    assert.equal(site.connected(host), false);
    assert.equal(site.lastHeardAt(host), clock.monotonic());
  });

  it("the agents of a server that is gone have the time to come here; from then on silence counts", async () => {
    there.connect(host);
    await clock.advance(1);
    await lose();
    servers = servers.map((server) => ({ ...server, present: false }));
    directoryChanged();
    const gone = clock.monotonic();
    await clock.advance(60_000);
    assert.equal(site.lastHeardAt(host), gone + moveAllowanceMs);
    here.connect(host);
    assert.equal(site.lastHeardAt(host), clock.monotonic());
    const came = clock.monotonic();
    await clock.advance(5000);
    assert.equal(site.lastHeardAt(host), came, "what the lost server knew no longer counts");
  });

  it("a server that came back at once without its agents does not make them look silent", async () => {
    there.connect(host);
    await clock.advance(30_000);
    there.hosts.clear();
    sockets.at(-1)?.cut();
    await clock.advance(2000);
    assert.equal(site.connected(host), false);
    assert.ok((site.lastHeardAt(host) ?? 0) > clock.monotonic());
    await clock.advance(moveAllowanceMs + 1000);
    assert.ok((site.lastHeardAt(host) ?? 0) < clock.monotonic());
  });

  it("knows for how long the store has not answered the other server, and nothing of one that it does not reach", async () => {
    assert.ok(site.othersStoreSilentMs <= 1000);
    storeSilentThereMs = 7000;
    await clock.advance(1500);
    assert.ok(site.othersStoreSilentMs >= 7000 && site.othersStoreSilentMs < 9000);
    await lose();
    assert.equal(site.othersStoreSilentMs, Number.POSITIVE_INFINITY);
  });

  it("a link that was cut is made again", async () => {
    sockets.at(-1)?.cut();
    await clock.advance(1000);
    assert.equal(sockets.length, 2);
    assert.deepEqual(site.linked, ["b"]);
  });

  it("a link on which nothing comes any more is cut", async () => {
    there.connect(host);
    await clock.advance(1);
    frozen = true;
    await clock.advance(5000);
    assert.ok(sockets.length > 1);
    frozen = false;
    await clock.advance(5000);
    assert.deepEqual(site.linked, ["b"]);
  });
});
