/** Removes tasks that ended long ago, and the oldest when there are too many. Woken by its own timer; writes nothing but their removal. */
import { recordPrefix, taskProgress } from "@sheaf/model";
import { commit, operationsPerTransaction } from "./commit.ts";
import type { ControllerContext } from "./context.ts";
import type { Controller } from "./controller.ts";

export function taskSweepController(context: ControllerContext): Controller {
  const { cache, clock, settings } = context;
  return {
    name: "task-sweep",
    reads: ["task"],
    writes: ["task (removal)"],
    initialKeys: () => ["all"],
    keysFor: () => [],
    async reconcile() {
      for (const batch of batches(outdated()))
        await commit(context, { compare: [], then: batch.map((id) => ({ deletePrefix: recordPrefix("task", id) })) });
      return settings.taskSweepMs;
    },
  };

  function outdated(): string[] {
    const ended: { id: string; at: number }[] = [];
    for (const task of cache.all("task")) {
      const progress = taskProgress(task.status);
      if (progress && progress.state !== "running") ended.push({ id: task.id, at: progress.endedAt ?? task.createdAt });
    }
    ended.sort((a, b) => b.at - a.at);
    const oldest = clock.now() - settings.taskKeepMs;
    return ended.filter(({ at }, index) => at < oldest || index >= settings.taskKeepCount).map(({ id }) => id);
  }
}

function* batches(ids: readonly string[]): Generator<readonly string[]> {
  for (let start = 0; start < ids.length; start += operationsPerTransaction) yield ids.slice(start, start + operationsPerTransaction);
}
