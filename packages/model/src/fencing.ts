/**
 * Fencing: how a host that is no longer heard is made sure to run nothing, before its machines start elsewhere. The methods are part of
 * a host's spec, tried in their order; what came of it is the host's part `status/fencing`, whose sole writer is the fencing controller.
 */
import { z } from "zod";
import { Timestamp } from "./fields.ts";

const Address = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?$/, "must be a host name or an IP address");
const UserName = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[\x21-\x7e]+$/, "must be printable ASCII without spaces");
/** Kept encrypted; never shown again. */
const Password = z
  .string()
  .min(1)
  .max(128)
  .regex(/^([\x20-\x7e]+)$/, "must be printable ASCII");
/** For the whole of one try: cutting the power and making sure of it. */
const TimeoutMs = z.int().min(1000).max(120_000);

/** IPMI v2.0 over LAN (RMCP+), through `ipmitool`. */
export const IpmiFence = z.strictObject({
  type: z.literal("ipmi"),
  address: Address,
  port: z.int().min(1).max(65_535).default(623),
  user: UserName,
  password: Password,
  /** IPMI v2.0 table 22-20: 17 is what today's controllers speak, old ones want 3. */
  cipherSuite: z.int().min(0).max(17).default(17),
  privilege: z.enum(["operator", "administrator"]).default("administrator"),
  timeoutMs: TimeoutMs.default(10_000),
});
/** DMTF Redfish (DSP0266): `ComputerSystem.Reset` of one system. */
export const RedfishFence = z.strictObject({
  type: z.literal("redfish"),
  address: Address,
  port: z.int().min(1).max(65_535).default(443),
  user: UserName,
  password: Password,
  system: z
    .string()
    .max(200)
    .regex(/^\/redfish\/v1\/Systems\/[A-Za-z0-9._-]+$/, "must be the path of a system: /redfish/v1/Systems/1")
    .default("/redfish/v1/Systems/1"),
  /** SHA-256 of the controller's certificate, hexadecimal; absent: its certificate is not checked (most are self-signed). */
  certificateFingerprint: z
    .string()
    .regex(/^[0-9a-f]{64}$/, "must be 64 hexadecimal digits in small letters")
    .optional(),
  timeoutMs: TimeoutMs.default(10_000),
});
/** Any fence agent of ClusterLabs' collection that is installed on the server's machine. Options go to its standard input, never to a shell. */
export const CommandFence = z.strictObject({
  type: z.literal("command"),
  program: z.string().regex(/^fence_[a-z0-9_]{1,40}$/, "must be the name of a fence agent: fence_apc_snmp"),
  options: z
    .record(
      z.string().regex(/^[a-z0-9_-]{1,40}$/, "must be an option of the fence agent"),
      z
        .string()
        .max(256)
        .regex(/^[\x20-\x7e]*$/, "must be printable ASCII"),
    )
    .refine((options) => Object.keys(options).length <= 32, "at most 32 options")
    .refine((options) => !("action" in options) && !("password" in options), "must not set action or password")
    .default({}),
  password: Password.optional(),
  timeoutMs: TimeoutMs.default(30_000),
});
/**
 * The host fences itself: it works under a lease that its server renews, and stops what it runs when that ends. Counts as a fence only where
 * a hardware watchdog resets a host that does not (docs/decisions/0014).
 */
export const WatchdogFence = z.strictObject({
  type: z.literal("watchdog"),
  /** How long the host may go on without a word from a server. */
  leaseMs: z.int().min(15_000).max(600_000).default(60_000),
  /** What the device is asked to be set to: the reset comes so long after it was petted last. Whole seconds. */
  watchdogTimeoutMs: z.int().min(10_000).max(120_000).multipleOf(1000, "must be whole seconds").default(30_000),
});
export type WatchdogFence = z.infer<typeof WatchdogFence>;
export const FencingMethod = z.discriminatedUnion("type", [IpmiFence, RedfishFence, CommandFence, WatchdogFence]);
export type FencingMethod = z.infer<typeof FencingMethod>;
/** Methods of something that cuts the host's power. */
export type PowerFence = Exclude<FencingMethod, WatchdogFence>;

export const fencingStates = ["fencing", "fenced", "asking", "held"] as const;
export const FencingAttempt = z.looseObject({
  /** `ipmi 10.0.0.7`, or `a person` with who it was. */
  method: z.string(),
  at: Timestamp,
  outcome: z.enum(["off", "failed"]),
  /** What the device or program said; empty where all went well. */
  detail: z.string(),
});
export type FencingAttempt = z.infer<typeof FencingAttempt>;

/**
 * `fencing`: its power is being cut · `fenced`: it is off, known for certain: its machines may start elsewhere · `asking`: no method could
 * make sure; tried again, and a person can say that it is off · `held`: it is seen to live although its agent is silent, or too
 * many hosts are silent at once: nothing is done without a person.
 */
export const HostFencing = z.looseObject({
  state: z.enum(fencingStates),
  since: Timestamp,
  reason: z.string(),
  /** The boot of the host that was cut off; absent where its agent never told one. */
  bootId: z.string().optional(),
  /** The newest last; at most eight are kept. */
  attempts: z.array(FencingAttempt),
  /** `fenced`: by its own lease and watchdog. It may be on, and answer under the same boot: nothing of Sheaf's ran there when this was concluded. */
  byItself: z.boolean().optional(),
});
export type HostFencing = z.infer<typeof HostFencing>;

/** Written by the server that the agent of a fenced host knocks at: the host is let in when its fence was taken away. */
export const HostReturn = z.looseObject({ bootId: z.string(), at: Timestamp });
export type HostReturn = z.infer<typeof HostReturn>;

/**
 * What a host may rely on, and a server on the host. Written before the first word that relies on it; `termMs` and `watchdogMs` never become
 * less while the host has not booted anew. Gone where the host does not fence itself so that it counts.
 */
export const HostLease = z.looseObject({
  /** Of the store: what another life of it promised is not known. */
  incarnation: z.string(),
  bootId: z.string(),
  /** The longest that was granted. */
  termMs: z.int(),
  /** The longest that its hardware watchdog takes. */
  watchdogMs: z.int(),
  /** When it was begun anew although the host was held: who waits for its end waits anew. */
  begunAt: Timestamp.optional(),
});
export type HostLease = z.infer<typeof HostLease>;

/** Hosts' and watchdogs' clocks may run so much slower than the server's: an eighth. */
const clockRateShare = 1 / 8;
/** What one server heard, another one knows within this time, or knows that it does not know. */
const wordTravelsMs = 5000;

/** So long after a host was heard last, anywhere, its lease is over and its watchdog has reset it unless it runs nothing. */
export const selfFencedAfterMs = ({ termMs, watchdogMs }: Pick<HostLease, "termMs" | "watchdogMs">): number =>
  Math.ceil((termMs + watchdogMs) * (1 + clockRateShare)) + wordTravelsMs;

export const watchdogMethod = (methods: readonly FencingMethod[]): WatchdogFence | undefined => methods.find((method) => method.type === "watchdog");

/** For messages and attempts: never holds a secret. */
export const fencingMethodName = (method: FencingMethod): string =>
  method.type === "watchdog"
    ? "watchdog"
    : method.type === "command"
      ? `${method.program} ${method.options["ip"] ?? method.options["plug"] ?? ""}`.trim()
      : `${method.type} ${method.address}`;
