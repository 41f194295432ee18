/**
 * Messages of agents as they come over the wire: what is not of the contract's shape is refused before anything is done with it.
 * Unknown fields are kept, unknown messages told apart: agents may be one version ahead.
 */
import type { AgentMessage, HostLoad } from "@sheaf/contract";
import { z } from "zod";

const Id = z.string().max(64);
const Count = z.int().min(0);
const Amount = z.number().min(0);

const VmLoadShape = z.looseObject({
  id: Id,
  cpu: Amount,
  memoryUsedBytes: Amount,
  diskReadBytesPerSecond: Amount,
  diskWriteBytesPerSecond: Amount,
  netReceiveBytesPerSecond: Amount,
  netTransmitBytesPerSecond: Amount,
});
const HostLoadShape = z.looseObject({ cpu: Amount, memoryUsedBytes: Amount, memoryTotalBytes: Amount, vms: z.array(VmLoadShape).max(10_000) });

/** Figures that cannot be read must not make a host look dead. */
const NoLoad = z.unknown().transform(() => null);

/** Figures are looked at one by one where they are kept: what is no number was not measured. */
const FiguresShape = z.custom<readonly (number | null)[]>((value) => Array.isArray(value) && value.length <= 1000, "no list of figures");
const MetricNames = z.array(z.string().max(64)).max(1000);
const SampleRowShape = z.looseObject({
  slot: Count.max(2 ** 31 - 1),
  host: FiguresShape,
  vms: z.array(z.looseObject({ id: Id, figures: FiguresShape })).max(10_000),
});

const schemas = {
  hello: z.looseObject({
    type: z.literal("hello"),
    wireVersion: z.int(),
    agentVersion: z.string().max(100),
    hostId: Id,
    bootId: z.string().max(100),
    now: z.number(),
    machines: z.array(z.looseObject({ id: Id, epoch: z.int(), incarnation: z.string().max(100), incoming: z.boolean().optional() })).max(100_000),
  }),
  heartbeat: z.looseObject({
    type: z.literal("heartbeat"),
    sequence: Count,
    now: z.number(),
    load: HostLoadShape.or(NoLoad),
    watchdogMs: z.int().min(0).max(600_000).optional(),
  }),
  report: z.looseObject({
    type: z.literal("report"),
    sequence: Count,
    parts: z.array(z.looseObject({ kind: z.string().max(50), id: Id, part: z.string().max(200), value: z.unknown() })).max(4096),
  }),
  reply: z.union([
    z.looseObject({ type: z.literal("reply"), id: Count, ok: z.literal(true), result: z.unknown() }),
    z.looseObject({
      type: z.literal("reply"),
      id: Count,
      ok: z.literal(false),
      problem: z.looseObject({ code: z.string(), message: z.string(), cause: z.string().optional(), next: z.string().optional() }),
    }),
  ]),
  samples: z.looseObject({
    type: z.literal("samples"),
    hostMetrics: MetricNames,
    vmMetrics: MetricNames,
    rows: z.array(SampleRowShape).max(1000),
  }),
  progress: z.looseObject({ type: z.literal("progress"), task: Id, fields: z.record(z.string(), z.unknown()) }),
  log: z.looseObject({ type: z.literal("log"), task: Id, at: z.number(), text: z.string() }),
  "stream-end": z.looseObject({ type: z.literal("stream-end"), stream: Count, reason: z.string().optional() }),
  "renew-certificate": z.looseObject({ type: z.literal("renew-certificate"), certificateRequest: z.string().max(16_384) }),
} as const satisfies Record<AgentMessage["type"], z.ZodType>;

type From<T extends AgentMessage["type"]> = Extract<AgentMessage, { readonly type: T }>;
export type Hello = From<"hello">;
export type Reply = From<"reply">;
export type CheckedMessage = Exclude<AgentMessage, From<"heartbeat">> | (Omit<From<"heartbeat">, "load"> & { readonly load: HostLoad | null });

export type MessageReading =
  | { readonly kind: "message"; readonly message: CheckedMessage }
  /** Of a newer agent: to be skipped. */
  | { readonly kind: "unknown"; readonly type: string }
  | { readonly kind: "broken"; readonly why: string };

export function readAgentMessage(text: string): MessageReading {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: "broken", why: "a message is no JSON" };
  }
  const type = typeof value === "object" && value !== null && "type" in value ? value.type : undefined;
  if (typeof type !== "string") return { kind: "broken", why: "a message has no type" };
  if (!Object.hasOwn(schemas, type)) return { kind: "unknown", type: type.slice(0, 50) };
  const read = schemas[type as keyof typeof schemas].safeParse(value); // looked up just before
  const issue = read.error?.issues[0];
  if (issue) return { kind: "broken", why: `${type} is malformed at ${issue.path.join(".")}: ${issue.message}` };
  // The schemas above are the contract's shapes; a part's kind may be one that only newer agents know, and has no rights then.
  return { kind: "message", message: read.data as CheckedMessage };
}
