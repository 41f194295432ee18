/**
 * Deletes machines whose guest has shut itself down and whose policy says so (`restart.onGuestShutdown: delete`). Writes `deletedAt`; the
 * deletion controller does the rest. Protected machines stay.
 */
import { partKey, type RecordOf } from "@sheaf/model";
import { commit, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { put } from "./packed-commit.ts";

export function guestShutdownController(context: ControllerContext): Controller {
  const { cache, clock, store, logger } = context;
  return {
    name: "guest-shutdown",
    reads: ["vm"],
    writes: ["vm/spec (deletedAt)"],
    initialKeys: () => [...cache.all("vm")].filter(isOver).map((vm) => vm.id),
    keysFor: ({ id, record }) => (record && isOver(record as RecordOf<"vm">) ? [id] : []), // it reads machines alone
    async reconcile(id) {
      const vm = cache.get("vm", id);
      if (!vm || !isOver(vm)) return undefined;
      const key = partKey("vm", id, "spec");
      const entry = await store.get(key);
      if (entry?.modRevision !== vm.specRevision) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
      const head = JSON.parse(entry.value) as Record<string, unknown>; // a spec part is an object; unknown fields are kept
      const result = await commit(context, {
        compare: [{ key, modRevision: vm.specRevision }],
        then: [put(key, { ...head, deletedAt: clock.now(), generation: vm.generation + 1 })],
      });
      if (!result.succeeded) throw new Overtaken(`machine ${vm.name} changed meanwhile`);
      logger.info({ vm: vm.name }, "a machine is deleted: its guest has shut itself down, and its policy says so");
      return undefined;
    },
  };
}

function isOver({ spec, status, placement, deletedAt }: RecordOf<"vm">): boolean {
  const seen = status.agent;
  if (deletedAt !== undefined || spec.restart.onGuestShutdown !== "delete" || spec.protected || spec.power !== "running") return false;
  if (!seen || !placement || seen.epoch !== placement.epoch) return false;
  return seen.state === "stopped" && seen.stoppedBy === "guest" && seen.startRequestSeen >= spec.startRequest;
}
