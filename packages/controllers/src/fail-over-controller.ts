/**
 * Starts the highly available machines of a fenced host elsewhere: moves their placement, the epoch one higher, by compare-and-set against
 * the fence itself, so that a host that is let in again keeps what was not moved yet. Sole writer of the machines' part `status/failover`;
 * makes the tasks with verb recover. Woken by fences, by machines there, and by room that may have come up.
 */
import { uuidv7 } from "@sheaf/base";
import { partKey, placedDevices, type Placement, type RecordOf, type VmFailover } from "@sheaf/model";
import { failOverRefusal, inRestartOrder, startOrder, wantsFailOver, type Ranked, type StartOrder } from "@sheaf/planning";
import { type Chosen, planBatch, type SnapshotIndex } from "@sheaf/scheduling";
import type { Compare, Operation } from "@sheaf/store";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { commitAll, put, type Decision } from "./packed-commit.ts";
import { hostName, volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";
import { isTrueOfRun, startedAfterChange } from "./started-after.ts";

type Host = RecordOf<"host">;
type Vm = RecordOf<"vm">;

/** Decided on one snapshot before anything is written. */
const batchSize = 256;

export function failOverController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { cache, clock, store, random, settings, logger } = context;
  return {
    name: "fail-over",
    reads: ["host", "vm", "volume", "pool"],
    writes: [
      "vm/status/failover",
      "vm/placement (compare-and-set with a fence)",
      "volume/placement (compare-and-set with a fence)",
      "task/spec (recover)",
    ],
    initialKeys: () => [...cache.all("host")].filter(isFenced).map((host) => host.id),
    *keysFor(change) {
      const { kind, id, record, previous } = change;
      for (const waiting of startedAfterChange(change, index)) {
        const host = hostOf(cache.get("vm", waiting));
        if (host && isFenced(host)) yield host.id;
      }
      if (kind === "host") {
        if (record && isFenced(record as Host)) yield id; // the kind says so
      } else if (kind === "vm" && record !== previous) {
        const vm = record as Vm | undefined; // the kind says so
        const host = hostOf(vm);
        if (vm && host && isFenced(host) && (vm.spec !== previous?.spec || vm.status !== previous.status)) yield host.id;
      }
    },
    async reconcile(hostId) {
      const host = cache.get("host", hostId);
      if (!host || !isFenced(host)) return undefined;
      const lost = inRestartOrder([...index.vmsOnHost(hostId)].flatMap((id) => cache.get("vm", id) ?? []).filter(wantsFailOver));
      const waiting: Decision<Vm>[] = [];
      let lookAgainMs = Infinity;
      const movable: Ranked[] = [];
      for (const one of lost) {
        const { vm } = one;
        const held = context.heldBack?.(vm) ?? false;
        if (held) lookAgainMs = settings.failOverAgainMs;
        const refusal = failOverRefusal({ vm, heldBack: held, volumes: volumesOf(vm, cache), pool: (id) => cache.get("pool", id) });
        if (refusal === null) movable.push(one);
        else waiting.push(...waits(vm, host, refusal));
      }
      for (let start = 0; start < movable.length; start += batchSize) {
        const refused = await move(host, movable.slice(start, start + batchSize));
        for (const { vm, reason, waitsFor, lookAgainMs: againMs = Infinity } of refused) {
          waiting.push(...waits(vm, host, reason, waitsFor));
          // Room may come up, and an agent that went and came again changes no record.
          lookAgainMs = Math.min(lookAgainMs, againMs, settings.failOverAgainMs);
        }
      }
      await commitAll(context, waiting);
      return lookAgainMs === Infinity ? undefined : lookAgainMs;
    },
  };

  function hostOf(vm: Vm | undefined): Host | undefined {
    return vm?.placement && cache.get("host", vm.placement.host);
  }

  /** @returns those for which there is no room, and those that wait for others: these keep their place in the order, lest the room be given away */
  async function move(host: Host, machines: readonly Ranked[]): Promise<NotMoved[]> {
    const fence = { key: partKey("host", host.id, "status/fencing"), value: JSON.stringify(host.status.fencing) };
    const decided = planBatch(
      machines.map(({ vm, importance }) => ({ ...snapshot.request(vm), cluster: host.spec.cluster, priority: importance })),
      snapshot,
    );
    const refused: NotMoved[] = [];
    try {
      const moves: Decision<Vm>[] = [];
      for (const [position, { decision }] of decided.entries()) {
        const vm = machines[position]?.vm;
        if (!vm) continue;
        const order = turnOf(vm, host);
        if (decision.none) refused.push({ vm, reason: vm.status.claim?.reason ?? decision.reason });
        else if (!order.go) refused.push({ vm, ...order });
        else moves.push(...(await moveOf(vm, host, decision, [decision.reasons[0], lateWords(order.without)], fence)));
      }
      const overtaken = await commitAll(context, moves);
      const failed = new Set(overtaken.map(({ about }) => about.id));
      for (const { about } of moves)
        if (!failed.has(about.id)) logger.warn({ vm: about.name, from: host.name }, "a machine of a lost host starts elsewhere");
      // Somebody was quicker; the change wakes this again.
      refused.push(...overtaken.map(({ about: vm }) => ({ vm, reason: "it changed meanwhile" })));
    } finally {
      for (const { request } of decided) snapshot.release(request);
    }
    return refused;
  }

  function turnOf(vm: Vm, host: Host): StartOrder {
    const now = clock.now();
    const since = host.status.fencing?.since ?? now;
    return startOrder({ vm, since, now, machine: (id) => cache.get("vm", id), isTrue: (other) => isTrueOfRun(other, context) });
  }

  /** @returns nothing where its placement has moved since the cache saw it */
  async function moveOf(
    vm: Vm,
    from: Host,
    { host: to, devices, numa }: Chosen,
    why: readonly (string | undefined)[],
    fence: Compare,
  ): Promise<Decision<Vm>[]> {
    const placementKey = partKey("vm", vm.id, "placement");
    const compare: Compare[] = [
      fence,
      { key: partKey("vm", vm.id, "spec"), modRevision: vm.specRevision },
      { key: partKey("vm", vm.id, "status/migration"), modRevision: 0 },
    ];
    const then: Operation[] = [];
    for (const key of [placementKey, ...volumesOf(vm, cache).map((volume) => partKey("volume", volume.id, "placement"))]) {
      const entry = await store.get(key);
      const before = entry === null ? null : (JSON.parse(entry.value) as Placement); // written by this package alone
      if (key === placementKey && before?.host !== from.id) return [];
      compare.push({ key, modRevision: entry?.modRevision ?? 0 });
      const after: Placement = {
        host: to,
        epoch: (before?.epoch ?? 0) + 1,
        incarnation: store.incarnation,
        ...(key === placementKey ? placedDevices(devices) : {}),
        reason: [`${hostName(from.id, cache)} was lost`, ...why].filter((text) => text !== undefined).join("; "),
        ...(key === placementKey && numa !== undefined ? { numa } : {}),
        at: clock.now(),
      };
      then.push(put(key, after));
    }
    const task = uuidv7(clock.now(), random);
    const failover: VmFailover = { state: "moved", from: from.id, to, reason: from.status.fencing?.reason ?? "", since: clock.now(), task };
    then.push(put(partKey("vm", vm.id, "status/failover"), failover), put(partKey("task", task, "spec"), recovery(vm, task, from, to)));
    return [{ about: vm, compare, then }];
  }

  /** The receipt: who waits for the machine sees what happens, and when it runs again. */
  function recovery(vm: Vm, id: string, from: Host, to: string): unknown {
    return {
      kind: "task",
      id,
      name: `recover-${id.slice(-12)}`,
      labels: {},
      generation: 1,
      createdAt: clock.now(),
      createdBy: "system",
      finalizers: [],
      ...(vm.project === undefined ? {} : { project: vm.project }),
      spec: {
        verb: "recover",
        target: { kind: "vm", id: vm.id, name: vm.name },
        generation: vm.generation,
        parameters: { from: from.id, to, silentSince: from.status.liveness?.since, fencedAt: from.status.fencing?.since },
        requestedBy: "system",
      },
    };
  }

  function waits(vm: Vm, from: Host, reason: string, waitsFor?: readonly string[]): Decision<Vm>[] {
    const before = vm.status.failover;
    if (before?.state === "waiting" && before.from === from.id && before.reason === reason) return [];
    const failover: VmFailover = {
      state: "waiting",
      from: from.id,
      reason,
      since: before?.state === "waiting" ? before.since : clock.now(),
      ...(waitsFor === undefined ? {} : { waitsFor: [...waitsFor] }),
    };
    return [
      {
        about: vm,
        compare: [{ key: partKey("vm", vm.id, "spec"), modRevision: vm.specRevision }],
        then: [put(partKey("vm", vm.id, "status/failover"), failover)],
      },
    ];
  }
}

interface NotMoved {
  readonly vm: Vm;
  readonly reason: string;
  readonly waitsFor?: readonly string[];
  readonly lookAgainMs?: number;
}

const lateWords = (without: readonly string[]): string | undefined =>
  without.length === 0 ? undefined : `it waited long enough for ${without.join(", ")}`;

const isFenced = (host: Host): boolean => host.status.fencing?.state === "fenced";
