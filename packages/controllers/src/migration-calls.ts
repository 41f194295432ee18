/** One step of a migration as a call on an agent: what goes in, and what its answer or failure means as an event of planning's table. */
import type { AgentCalls, AgentMethod, MigrationCall } from "@sheaf/contract";
import { SheafError, type ProblemCode } from "@sheaf/model";
import type { MigrationEvent } from "@sheaf/planning";
import type { MigrationRecord } from "./migration-record.ts";

export interface StepAnswer {
  readonly event: MigrationEvent;
  /** Fields to be kept with the next state. */
  readonly learnt: Partial<MigrationRecord>;
  /** The source's description of the guest, needed by the very next step only. */
  readonly xml?: string;
}
export interface StepInput {
  readonly vmId: string;
  readonly record: MigrationRecord;
  readonly xml: string;
  readonly call: <M extends AgentMethod>(on: "source" | "target", method: M, parameters: AgentCalls[M]["in"]) => Promise<AgentCalls[M]["out"]>;
}

const lostAtTheEnd: NonNullable<MigrationRecord["problem"]> = {
  code: "hypervisor-failed",
  detail: "the guest did not run at the target when it had been taken over: what was in its memory is lost",
  next: "see whether it runs; the log of the target's agent says why it was lost",
};

/** @throws what `call` throws */
export async function takeStep({ vmId, record, xml, call }: StepInput): Promise<StepAnswer> {
  const common: MigrationCall = {
    vmId,
    taskId: record.task,
    epoch: record.epoch,
    sourceHost: record.source,
    targetHost: record.target,
    targetAddress: record.targetAddress,
    sharedStorage: record.sharedStorage,
    postCopy: record.postCopy,
  };
  const { cookie } = record;
  switch (record.phase) {
    case "begun": {
      const answer = await call("source", "migrate.begin", common);
      return { event: "done", learnt: { cookie: answer.cookie }, xml: answer.xml };
    }
    case "prepared": {
      const answer = await call("target", "migrate.prepare", {
        ...common,
        cookie,
        xml,
        copyVolumes: record.copyVolumes,
        ports: {},
        ...(record.targetNuma === undefined ? {} : { numa: record.targetNuma }),
      });
      if (!answer.certificateReady)
        return {
          event: "failed",
          learnt: {
            problem: { code: "hypervisor-failed", detail: "the target has no certificate for an encrypted migration: look at its agent's log" },
          },
        };
      return {
        event: "done",
        learnt: { cookie: answer.cookie, uri: answer.uri, ...(answer.nbdPort === undefined ? {} : { nbdPort: answer.nbdPort }) },
      };
    }
    case "performed": {
      const { uri, bandwidthBytesPerSecond, maximumDowntimeMs, autoConverge, nbdPort } = record;
      const copyVolumes = record.copyVolumes.map((volume) => volume.volumeId);
      const flags = { bandwidthBytesPerSecond, maximumDowntimeMs, autoConverge, ...(nbdPort === undefined ? {} : { nbdPort }) };
      const answer = await call("source", "migrate.perform", { ...common, cookie, uri, copyVolumes, ...flags });
      return { event: "done", learnt: { cookie: answer.cookie, stats: answer.stats } };
    }
    case "switched": {
      const answer = await call("target", "migrate.finish", { ...common, cookie, cancelled: false, newEpoch: record.epoch + 1 });
      if (answer.running) return { event: "done", learnt: { cookie: answer.cookie } };
      if (answer.neverRan === true)
        return {
          event: "never-ran",
          learnt: {
            cookie: answer.cookie,
            problem: { code: "hypervisor-failed", detail: "the target could not start the guest, which went on at the source" },
          },
        };
      return { event: "failed", learnt: { cookie: answer.cookie } };
    }
    case "settling": {
      const { state } = await call("target", "vm.probe", { vmId });
      if (state === "running") return { event: "done", learnt: {} };
      if (state === "paused" || state === "incoming") return { event: "waiting", learnt: {} };
      return { event: "absent", learnt: { problem: lostAtTheEnd } };
    }
    case "finished": {
      const answer = await call("source", "migrate.confirm", { ...common, cookie, cancelled: false });
      return { event: "done", learnt: answer.stats ? { stats: answer.stats } : {} };
    }
    case "aborting":
      await call("source", "migrate.abort", common);
      return { event: "done", learnt: {} };
    case "withdrawing": {
      const answer = await call("target", "migrate.finish", { ...common, cookie, cancelled: true, newEpoch: record.epoch });
      return { event: "done", learnt: { cookie: answer.cookie } };
    }
    case "restoring":
      await call("source", "migrate.confirm", { ...common, cookie, cancelled: true });
      return { event: "done", learnt: {} };
    case "requested":
    case "confirmed":
    case "undone":
    case "refused":
      return { event: "done", learnt: {} };
  }
}

/** What a failed call means. A code that is not one of the ways an answer can fail to come is the agent's refusal: not done. */
export function failureOf(error: unknown): { event: "failed" | "unknown" | "lost"; problem: NonNullable<MigrationRecord["problem"]> } {
  if (!(error instanceof SheafError)) return { event: "unknown", problem: { code: "internal", detail: String(error) } };
  const event = error.code === "host-unreachable" ? "lost" : error.code === "timed-out" || error.code === "cancelled" ? "unknown" : "failed";
  const { cause, next } = error.extra;
  const code: ProblemCode = error.code;
  return { event, problem: { code, detail: error.message, ...(cause === undefined ? {} : { cause }), ...(next === undefined ? {} : { next }) } };
}
