/**
 * Says of machines whose host has booted when they may be started as far as `restart.after` goes. Their host's agent waits for that word
 * (`awaitsTurn`), and for no longer than the machine's `maximumWaitMs`: so nothing hangs on this. Sole writer of the machines' part
 * `status/order`. Woken by machines that wait, by those they wait for, and by these machines' hosts.
 */
import { partKey, type RecordOf, type VmOrder } from "@sheaf/model";
import { startOrder } from "@sheaf/planning";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";
import { isTrueOfRun, startedAfterChange } from "./started-after.ts";

type Vm = RecordOf<"vm">;

export function startOrderController(context: ControllerContext, index: SiteIndex): Controller {
  const { cache, clock, logger, settings } = context;
  return {
    name: "start-order",
    reads: ["vm", "host"],
    writes: ["vm/status/order"],
    initialKeys: () => [...cache.all("vm")].filter(awaitsTurn).map((vm) => vm.id),
    *keysFor(change) {
      for (const id of startedAfterChange(change, index)) if (awaitsTurn(cache.get("vm", id))) yield id;
      if (change.kind === "vm" && awaitsTurn(change.record as Vm | undefined)) yield change.id; // the kind says so
    },
    async reconcile(id) {
      const vm = cache.get("vm", id);
      if (!vm || !awaitsTurn(vm)) return undefined;
      const { bootId, epoch } = vm.status.agent;
      const now = clock.now();
      const before = vm.status.order?.bootId === bootId && vm.status.order.epoch === epoch ? vm.status.order : undefined;
      const since = before?.since ?? now;
      const order = startOrder({ vm, since, now, machine: (other) => cache.get("vm", other), isTrue: (other) => isTrueOfRun(other, context) });
      const next: VmOrder = order.go
        ? { state: "go", bootId, epoch, reason: "", since: now, waitsFor: [] }
        : { state: "waiting", bootId, epoch, reason: order.reason, since, waitsFor: [...order.waitsFor] };
      // An agent that went and came again changes no record.
      const lookAgainMs = order.go ? undefined : Math.min(order.lookAgainMs, settings.failOverAgainMs);
      if (before?.state === "go" || (before?.state === next.state && before.reason === next.reason)) return lookAgainMs;
      const result = await commit(context, {
        compare: [{ key: partKey("vm", id, "spec"), modRevision: vm.specRevision }],
        then: [put(partKey("vm", id, "status/order"), next)],
      });
      if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
      logger.info({ vm: vm.name, state: next.state, reason: next.reason }, "a machine's turn to be started was looked at");
      return lookAgainMs;
    },
  };
}

type Awaiting = Vm & { readonly status: { readonly agent: NonNullable<Vm["status"]["agent"]> } };

const awaitsTurn = (vm: Vm | undefined): vm is Awaiting =>
  vm?.status.agent?.awaitsTurn === true && vm.deletedAt === undefined && vm.placement?.epoch === vm.status.agent.epoch;
