/**
 * The server with a store that halts at every step of a migration: just before the step is persisted and just after, before anything that
 * belongs to it is done. Each time it tells its starter (`held-server.ts`) and goes on when that says so, or is gone. Everything else
 * is the real server.
 */
import { kindPrefix, parsePartKey } from "@sheaf/model";
import type { Operation, TransactionInput } from "@sheaf/store";
import { openStore } from "../apps/server/wiring/open-store.ts";
import { serverProgram } from "../apps/server/wiring/server-program.ts";

export interface Halt {
  readonly halt: number;
  readonly machine: string;
  readonly from: string;
  readonly to: string;
  readonly moment: "before" | "after";
}

const waiting = new Map<number, () => void>();
let halts = 0;
process.on("message", (message: { goOn: number }) => waiting.get(message.goOn)?.()); // what held-server.ts sends
process.on("disconnect", () => waiting.forEach((goOn) => goOn()));

async function halt(step: Step, moment: Halt["moment"]): Promise<void> {
  if (!process.connected) return;
  const number = (halts += 1);
  await new Promise<void>((resolve) => {
    waiting.set(number, resolve);
    process.send?.({ halt: number, ...step, moment } satisfies Halt);
  });
  waiting.delete(number);
}

interface Step {
  readonly machine: string;
  readonly from: string;
  readonly to: string;
}

/** Machines by their open migration task, for those that are refused before a migration's record is there. */
const asked = new Map<string, string>();

function stepOf(operations: readonly Operation[], phases: ReadonlyMap<string, string>): Step | null {
  for (const operation of operations) {
    const { kind, id, part } = partOf(operation);
    if (!("put" in operation) || kind !== "vm" || part !== "status/migration") continue;
    return { machine: id, from: phases.get(id) ?? "requested", to: phaseIn(operation.value) };
  }
  for (const operation of operations) {
    const { kind, id, part } = partOf(operation);
    const machine = kind === "task" && part === "status/controller" ? asked.get(id) : undefined;
    if (!("put" in operation) || machine === undefined || phases.has(machine)) continue;
    const { state } = JSON.parse(operation.value) as { state?: string }; // a task's progress
    if (state === "failed") return { machine, from: "requested", to: "refused" };
  }
  return null;
}

function partOf(operation: Operation): { kind?: string; id: string; part?: string } {
  return ("put" in operation ? parsePartKey(operation.put) : "delete" in operation ? parsePartKey(operation.delete) : null) ?? { id: "" };
}

const phaseIn = (json: string): string => (JSON.parse(json) as { phase: string }).phase; // a migration's record

await serverProgram(async (...where) => {
  const store = await openStore(...where);
  const phases = new Map<string, string>();
  for (const { key, value } of (await store.range({ prefix: kindPrefix("vm") })).entries) {
    const part = parsePartKey(key);
    if (part?.part === "status/migration") phases.set(part.id, phaseIn(value));
  }
  const transact = async (input: TransactionInput) => {
    const step = stepOf(input.then, phases);
    if (step) await halt(step, "before");
    const result = await store.transact(input);
    if (!result.succeeded) return result;
    for (const operation of input.then) {
      const { kind, id, part } = partOf(operation);
      if (kind === "vm" && part === "status/migration") {
        if ("put" in operation) phases.set(id, phaseIn(operation.value));
        else phases.delete(id);
      }
      if (kind === "task" && part === "spec" && "put" in operation) note(id, operation.value);
    }
    if (step) await halt(step, "after");
    return result;
  };
  return new Proxy(store, {
    get: (target, name) => {
      if (name === "transact") return transact;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
});

function note(task: string, json: string): void {
  const { verb, target } = (JSON.parse(json) as { spec?: { verb?: string; target?: { id: string } } }).spec ?? {}; // a record's part
  if (verb === "migrate" && target) asked.set(task, target.id);
}
