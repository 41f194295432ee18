/**
 * Ends the tasks that are receipts of changes when what they ask for is seen (planning/receipts). Sole writer of `status/controller` of tasks
 * with such verbs. Woken by tasks and by what they are about.
 */
import { partKey, type RecordOf } from "@sheaf/model";
import { hasEnded, isAgentWork, isReceipt, planReceipt, type ReceiptInput } from "@sheaf/planning";
import { operationsPerTransaction, Overtaken } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";
import { GatheredCommit } from "./gathered-commit.ts";
import { put } from "./packed-commit.ts";
import { volumesOf } from "./records.ts";
import type { SiteIndex } from "./site-index.ts";

export function receiptsController(context: ControllerContext, index: SiteIndex): Controller {
  const { cache, clock, settings } = context;
  const writes = new GatheredCommit(context);
  return {
    name: "receipts",
    reads: ["task", "vm", "volume", "image", "host"],
    writes: ["task/status/controller (receipts)"],
    // As many as one transaction takes.
    concurrency: operationsPerTransaction,
    initialKeys: () => [...cache.all("task")].filter(isOpen).map((task) => task.id),
    *keysFor({ kind, id, record }) {
      if (kind === "task") {
        const task = record as RecordOf<"task"> | undefined; // the kind says so
        if (task && isOpen(task)) yield id;
        return;
      }
      yield* index.openTasks(id);
      // A disk that cannot be made fails its machine's creation.
      const vm = kind === "volume" ? index.vmOfVolume.get(id) : undefined;
      if (vm !== undefined) yield* index.openTasks(vm);
    },
    async reconcile(taskId) {
      const task = cache.get("task", taskId);
      if (!task || !isOpen(task)) return undefined;
      const { kind, id } = task.spec.target;
      const target = cache.get(kind, id) as ReceiptInput["target"]; // a record of any kind
      const volumes = target?.kind === "vm" ? volumesOf(target as RecordOf<"vm">, cache) : []; // the kind says so
      const hostExists = task.spec.host !== undefined && cache.get("host", task.spec.host) !== undefined;
      const plan = planReceipt({ task, target, volumes, hostExists, now: clock.now(), quietMs: settings.receiptQuietMs });
      if (plan.write) {
        const committed = await writes.commit({
          compare: [{ key: partKey("task", taskId, "spec"), modRevision: task.specRevision }],
          then: [put(partKey("task", taskId, "status/controller"), plan.write)],
        });
        if (!committed) throw new Overtaken(`task ${taskId} changed meanwhile`);
      }
      return plan.lookAgainMs;
    },
  };
}

const isOpen = (task: RecordOf<"task">): boolean => (isReceipt(task) || isAgentWork(task)) && !hasEnded(task);
