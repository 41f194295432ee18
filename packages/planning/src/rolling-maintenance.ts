/**
 * Maintenance of a cluster, one host at a time: (how far it is, what is seen, what people said, now) → the next act. A host is emptied, waits
 * for a person's word (or a new boot) that the work on it is done, and gets its machines back before the next one begins. Called by the
 * rolling maintenance controller at every change. Pure.
 *
 * Never begins with a host while another one of the cluster is not open and ready, nor where its evacuation has a warning. What does not come
 * right in time ends it as failed; the host it was at stays as it is.
 */
export const rollingPhases = ["waiting", "emptying", "emptied", "returning", "done", "gone"] as const;

export interface RollingHost {
  readonly id: string;
  readonly name: string;
  readonly phase: (typeof rollingPhases)[number];
  /** When the phase began, or it last came nearer to its end; 0: its turn has not come. */
  readonly since: number;
  /** While it is emptied: a new one means that it was restarted. */
  readonly bootId?: string;
  /** While it is being emptied: machines that were left. */
  readonly remaining?: number;
  /** The last that was told of why machines do not leave. */
  readonly stuck?: string;
}

/** What is seen of the host whose turn it is. */
export interface HostSight {
  readonly open: boolean;
  /** Its spec says so. */
  readonly inMaintenance: boolean;
  readonly ready: boolean;
  readonly bootId: string | undefined;
  readonly drained: boolean;
  readonly remaining: number | undefined;
  /** Why machines do not leave, of the first of them. */
  readonly stuck: string | undefined;
  /** It still has machines to get back. */
  readonly awaitsReturn: boolean;
}

export interface RollingInput {
  readonly hosts: readonly RollingHost[];
  /** `undefined`: it has no record any more. */
  readonly look: (host: string) => HostSight | undefined;
  /** Why it must not begin with that host now: others that are away, warnings of its evacuation. */
  readonly against: (host: string) => readonly string[];
  readonly saidDone: (host: string) => boolean;
  readonly paused: boolean;
  readonly cancelled: boolean;
  readonly now: number;
}

export interface RollingPlan {
  readonly hosts: readonly RollingHost[];
  readonly act?: { readonly do: "maintain" | "activate"; readonly host: string };
  readonly state: "running" | "succeeded" | "failed" | "cancelled";
  readonly message: string;
  readonly lookAgainMs?: number;
}

/** What does not come nearer to its end for so long has failed. */
export const rollingPatienceMs = 600_000;
const lookAgainMs = 10_000;

export function planRolling(input: RollingInput): RollingPlan {
  const { hosts, cancelled, now } = input;
  const at = hosts.findIndex(({ phase }) => phase !== "done" && phase !== "gone");
  const current = hosts[at];
  if (!current) return { hosts, state: "succeeded", message: `all ${hosts.length} hosts are through` };
  if (cancelled) {
    const left = current.phase === "waiting" ? "" : `; ${current.name} stays in maintenance: activate it`;
    return { hosts, state: "cancelled", message: `ended before ${hosts.length - at} of ${hosts.length} hosts were through${left}` };
  }
  const sight = input.look(current.id);
  const begun = current.since === 0 ? { ...current, since: now } : current;
  const next = sight ? nextOf(input, begun, sight) : { host: { ...begun, phase: "gone" as const }, message: `${current.name} was removed` };
  const { host, act, message, failed } = next;
  const updated = hosts.map((one, index) => (index === at ? host : one));
  if (failed) return { hosts: updated, state: "failed", message };
  return {
    hosts: updated,
    state: "running",
    message: `${message} (${at + 1} of ${hosts.length})`,
    lookAgainMs: host.phase === "done" || host.phase === "gone" ? 0 : lookAgainMs,
    ...(act ? { act: { do: act, host: host.id } } : {}),
  };
}

interface Next {
  readonly host: RollingHost;
  readonly act?: "maintain" | "activate";
  readonly message: string;
  readonly failed?: true;
}

function nextOf(input: RollingInput, host: RollingHost, sight: HostSight): Next {
  const { now, paused, against, saidDone } = input;
  const { name } = host;
  const enter = (phase: RollingHost["phase"]): RollingHost => ({ id: host.id, name, phase, since: now });
  const late = now - host.since >= rollingPatienceMs;
  switch (host.phase) {
    case "waiting": {
      if (paused) return { host: { ...host, since: now }, message: `paused before ${name}` };
      if (sight.inMaintenance) return { host: enter("emptying"), message: `${name} is being emptied` };
      const why = against(host.id).join("; ");
      if (why === "") return { host: enter("emptying"), act: "maintain", message: `${name} is being emptied` };
      return late ? { host, failed: true, message: `${name} cannot be emptied: ${why}` } : { host, message: `${name} waits: ${why}` };
    }
    case "emptying": {
      if (!sight.inMaintenance) return { host, failed: true, message: `${name} was activated by somebody before it was empty` };
      if (sight.drained) {
        const boot = sight.bootId === undefined ? {} : { bootId: sight.bootId };
        return { host: { ...enter("emptied"), ...boot }, message: emptied(name) };
      }
      const { remaining = 0 } = sight;
      if (host.remaining !== remaining) return { host: { ...host, since: now, remaining }, message: `${name} is being emptied` };
      const stuck = sight.stuck ?? host.stuck;
      const why = stuck === undefined ? "" : `: ${stuck}`;
      if (late) return { host, failed: true, message: `${name} does not get empty, ${remaining} machines are left${why}` };
      return { host: stuck === undefined ? host : { ...host, stuck }, message: `${name} is being emptied${why}` };
    }
    case "emptied": {
      if (sight.open && !sight.inMaintenance) return { host: enter("returning"), message: back(name) };
      const restarted = sight.ready && sight.bootId !== undefined && host.bootId !== undefined && sight.bootId !== host.bootId;
      if (saidDone(host.id) || restarted) return { host: enter("returning"), act: "activate", message: back(name) };
      return { host, message: emptied(name) };
    }
    case "returning":
      if (sight.open && sight.ready && !sight.awaitsReturn) return { host: enter("done"), message: `${name} is through` };
      if (!sight.ready && late) return { host, failed: true, message: `${name} has not come back` };
      return { host: sight.ready ? { ...host, since: now } : host, message: back(name) };
    case "done":
    case "gone":
      return { host, message: `${name} is through` };
  }
}

const emptied = (name: string): string => `${name} is empty: do the work, then restart it or say \`sheaf host done ${name}\``;
const back = (name: string): string => `${name} gets its machines back`;
