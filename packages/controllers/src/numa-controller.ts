/**
 * Keeps the NUMA cells and CPUs in the placement of placed machines in step with what they ask for: after a change of `cpu.placement`, of vCPUs
 * or memory, or when their host has other cells than before. The host and the epoch stay; the host's agent applies it. Writes `placement` by
 * compare-and-set, as migration does, and is the sole writer of `status/numa`: why a machine does not have what it asks for.
 */
import { hasGivenWay, type NumaPlacement, partKey, type Placement, type RecordOf } from "@sheaf/model";
import { cellUpkeep, type SnapshotIndex } from "@sheaf/scheduling";
import type { Operation } from "@sheaf/store";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";

type Vm = RecordOf<"vm">;
type Host = RecordOf<"host">;

export function numaController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { cache, clock, logger, settings, store } = context;
  return {
    name: "numa",
    reads: ["vm", "host"],
    writes: ["vm/placement (numa, by compare-and-set)", "vm/status/numa"],
    initialKeys: () => [...cache.all("vm")].filter(isSettled).map(({ id }) => id),
    *keysFor({ kind, id, record, previous }) {
      // The kind says what the record is.
      if (kind === "vm") {
        const [vm, before] = [record as Vm | undefined, previous as Vm | undefined];
        if (
          vm &&
          (vm.spec !== before?.spec ||
            vm.placement !== before.placement ||
            vm.status.migration !== before.status.migration ||
            hasGivenWay(vm) !== hasGivenWay(before))
        )
          yield id;
      }
      if (kind === "host" && numaText(record as Host | undefined) !== numaText(previous as Host | undefined)) yield* index.vmsOnHost(id);
    },
    async reconcile(id) {
      const vm = cache.get("vm", id);
      if (!vm || !isSettled(vm)) return undefined;
      const next = cellUpkeep(vm, snapshot);
      const told = vm.status.numa;
      const statusKey = partKey("vm", id, "status/numa");
      const compare = [{ key: partKey("vm", id, "spec"), modRevision: vm.specRevision }];
      if (next.do === "refuse") {
        if (told?.reason === next.reason) return settings.failOverAgainMs;
        await commit(context, { compare, then: [put(statusKey, { reason: next.reason, since: told?.since ?? clock.now() })] });
        return settings.failOverAgainMs;
      }
      const then: Operation[] = told === undefined ? [] : [{ delete: statusKey }];
      if (next.do === "keep") {
        if (then.length > 0) await commit(context, { compare, then });
        return undefined;
      }
      if (next.do === "clear") {
        await write(vm, undefined, then);
        return undefined;
      }
      // On its way to another host by somebody's decision: that one is not overwritten.
      if (snapshot.reservedHost(id) !== undefined) return settings.failOverAgainMs;
      const numa = snapshot.reserve(next.request, vm.placement.host, vm.placement);
      try {
        await write(vm, numa, then);
      } finally {
        // The record says it now, or nothing was written.
        snapshot.release(next.request);
      }
      return undefined;
    },
  };

  async function write(vm: Settled, numa: NumaPlacement | undefined, also: readonly Operation[]): Promise<void> {
    const key = partKey("vm", vm.id, "placement");
    const entry = await store.get(key);
    const before = entry === null ? null : (JSON.parse(entry.value) as Placement); // written by this package alone
    if (entry === null || before?.epoch !== vm.placement.epoch || before.host !== vm.placement.host) throw new Overtaken(`machine ${vm.name} moved`);
    const { numa: _numa, ...kept } = before;
    const result = await commit(context, {
      compare: [
        { key: partKey("vm", vm.id, "spec"), modRevision: vm.specRevision },
        { key: partKey("vm", vm.id, "status/migration"), modRevision: 0 },
        { key, modRevision: entry.modRevision },
      ],
      then: [...also, put(key, { ...kept, ...(numa === undefined ? {} : { numa }) })],
    });
    if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
    logger.info({ vm: vm.name, cells: numa?.cells ?? [] }, "a machine got other NUMA cells on its host");
  }
}

type Settled = Vm & { readonly placement: Placement };

const isSettled = (vm: Vm): vm is Settled => vm.placement !== undefined && vm.deletedAt === undefined && vm.status.migration === undefined;

const numaText = (host: Host | undefined): string | undefined => JSON.stringify(host?.status.agent?.numa);
