/**
 * The order of starts (`restart.after`): no machine is started elsewhere, and none gets the word to start after its host has booted, before
 * those it names run, or its wait is over. By the times in the records: whoever decided went by these clocks, however wrong. Fed by every commit.
 */
import type { Part, PartChange, RecordsWatch } from "./records-watch.ts";

export interface OrderChecks {
  readonly records: RecordsWatch;
  readonly broke: (what: string) => void;
  /** Monotonic ms, true time. */
  readonly now: () => number;
  /** It ended while its host went on. */
  readonly endedInThisBoot: (machine: string, host: string) => boolean;
}

/** Whoever decides sees a change so much later. */
const seenWithinMs = 5000;
/** As in planning/start-order: a clock that was set back by more says nothing of how long was waited. */
const clocksDifferMs = 60_000;

export function checkOrder({ records, broke, now: trueNow, endedInThisBoot }: OrderChecks): void {
  /** When a machine was last on record as one that others may be started after. */
  const ranAt = new Map<string, number>();

  const isReady = (id: string): boolean => {
    const [head, placement, seen] = [records.part("vm", id, "spec"), records.part("vm", id, "placement"), records.part("vm", id, "status/agent")];
    if (!head || head.deletedAt !== undefined || head.spec.power !== "running") return true;
    // Its guest shut itself down: nobody waits for it.
    if (seen?.state === "stopped" && seen.stoppedBy === "guest" && head.spec.restart.onGuestShutdown !== "restart") return true;
    return seen?.state === "running" && seen.epoch === placement?.epoch && seen.host === placement?.host;
  };
  const note = ({ id, part, before }: PartChange): void => {
    if (part === "spec" || part === "status/agent" || part === "placement") {
      const wasReady = part !== "status/agent" || before?.state === "running" || before?.stoppedBy === "guest";
      if (wasReady || isReady(id)) ranAt.set(id, trueNow());
    }
  };
  const missing = (vm: Part): string[] =>
    (vm.spec.restart.after?.machines ?? []).filter(
      (id: string) => !isReady(id) && trueNow() - (ranAt.get(id) ?? Number.NEGATIVE_INFINITY) > seenWithinMs,
    );
  const check = (id: string, what: string, since: number, at: number): void => {
    const vm = records.part("vm", id, "spec");
    const after = vm?.spec.restart.after;
    if (!after || at - since >= after.maximumWaitMs || since - at > clocksDifferMs) return;
    const left = missing(vm);
    if (left.length > 0)
      broke(`${vm.name} ${what} after ${at - since} ms although ${left.map((other) => records.name("vm", other)).join(", ")} does not run yet`);
  };

  records.subscribe(({ parts, restored }) => {
    for (const change of parts) if (change.kind === "vm") note(change);
    if (restored) return;
    for (const { kind, id, part, now, before } of parts) {
      if (kind !== "vm" || !now) continue;
      if (part === "status/failover" && now.state === "moved" && before?.task !== now.task) {
        const fence = records.part("host", now.from, "status/fencing");
        if (fence) check(id, "is started elsewhere", fence.since, now.since);
      }
      if (part === "status/order" && now.state === "go" && before?.state === "waiting" && before.bootId === now.bootId && before.epoch === now.epoch)
        check(id, "gets the word to start", before.since, now.since);
      if (part === "status/agent" && (before?.awaitsTurn === true || before?.stoppedBy === "host")) started(id, before, now);
    }
  });

  /** It ran when its host went down: its agent waits for the word, as long as its own clock says. */
  function started(id: string, before: Part, now: Part): void {
    // That of a start which was looked at before.
    if (isStarted(before)) return;
    if (!isStarted(now) || now.bootId !== before.bootId || now.epoch !== before.epoch) return;
    // It was stopped on a host that went on: by somebody there, or because the host's lease was over.
    if (endedInThisBoot(id, now.host)) return;
    const [vm, order] = [records.part("vm", id, "spec"), records.part("vm", id, "status/order")];
    const after = vm?.spec.restart.after;
    if (!after || vm.spec.startRequest > before.startRequestSeen) return;
    if (order?.state === "go" && order.bootId === now.bootId && order.epoch === now.epoch) return;
    const waitedMs = now.since - (before.lastEnd?.at ?? 0);
    if (waitedMs >= 0 && waitedMs < after.maximumWaitMs) broke(`${vm.name} is started after ${waitedMs} ms without the word that it is its turn`);
  }
}

const isStarted = ({ state, awaitsTurn }: Part): boolean => awaitsTurn !== true && (state === "starting" || state === "running");
