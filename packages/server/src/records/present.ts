/** Records as the API shows them: secrets blanked, the state told. Called for every answer, watch event and audit entry. */
import { taskProgress, taskState, vmState, type AnyRecord, type Kind, type RecordOf, type VmState } from "@sheaf/model";
import type { ServerContext } from "../context.ts";

/** Stands where a secret is; a write of it keeps the old value. */
export const secretText = "(secret)";

export type Shown = Readonly<Record<string, unknown>> & { readonly id: string; readonly kind: Kind };

export class Presenter {
  readonly #context: Pick<ServerContext, "cache" | "agents" | "tasks">;

  constructor(context: Pick<ServerContext, "cache" | "agents" | "tasks">) {
    this.#context = context;
  }

  hostReachable(hostId: string): boolean {
    const { agents, cache } = this.#context;
    return agents.connected(hostId) || cache.get("host", hostId)?.status.liveness?.state === "ready";
  }

  vmState(vm: RecordOf<"vm">): VmState {
    return vmState(vm, vm.placement !== undefined && this.hostReachable(vm.placement.host));
  }

  /** The one word that says how a record stands; `undefined` for kinds without any. */
  state(record: RecordOf<Kind>): string | undefined {
    const known = record as AnyRecord; // told apart by kind
    if (known.kind === "vm") return this.vmState(known);
    if (known.deletedAt !== undefined) return "deleting";
    switch (known.kind) {
      case "host":
        if (known.status.fencing?.state === "fenced") return "fenced";
        return known.status.power?.state ?? known.status.liveness?.state ?? "joining";
      case "image":
        return known.status.library?.state ?? "waiting";
      case "volume":
        return known.status.agent?.state ?? "waiting";
      case "task":
        return taskState(known.status);
      default:
        return undefined;
    }
  }

  show(record: RecordOf<Kind>): Shown {
    const known = record as AnyRecord; // as above
    const state = this.state(record);
    const shown = { ...blanked(known), ...(state === undefined ? {} : { state }) };
    if (known.kind !== "task" || taskProgress(known.status)?.state !== "running") return shown;
    const live = this.#context.tasks.progress(known.id);
    return live === undefined ? shown : { ...shown, status: { ...known.status, live } };
  }

  text(record: RecordOf<Kind>): string {
    return JSON.stringify(this.show(record));
  }
}

/** A copy without secrets; the same object where there are none. Works on stored parts too. */
export function blanked<R extends { readonly kind: string; readonly spec: unknown }>(record: R): R {
  const spec = blankedSpec(record.kind, record.spec);
  return spec === record.spec ? record : { ...record, spec };
}

export function blankedSpec(kind: string, spec: unknown): unknown {
  if (typeof spec !== "object" || spec === null) return spec;
  const fields = spec as Record<string, unknown>; // narrowed above; only looked at
  if (kind === "vm") {
    const cloudInit = fields["cloudInit"] as Record<string, unknown> | undefined; // the schema of machines says so
    if (cloudInit?.["userData"] === undefined && cloudInit?.["password"] === undefined) return spec;
    const hidden = { ...cloudInit };
    for (const name of ["userData", "password"]) if (hidden[name] !== undefined) hidden[name] = secretText;
    return { ...fields, cloudInit: hidden };
  }
  if (kind === "host") {
    const methods = fields["fencing"] as readonly Record<string, unknown>[] | undefined; // the schema of hosts says so
    if (!methods?.some((method) => method["password"] !== undefined)) return spec;
    return { ...fields, fencing: methods.map((method) => (method["password"] === undefined ? method : { ...method, password: secretText })) };
  }
  if (kind === "user" && fields["passwordHash"] !== undefined) return { ...fields, passwordHash: secretText };
  if (kind === "token" && fields["secretHash"] !== undefined) return { ...fields, secretHash: secretText };
  return spec;
}

/** Paths that no filter, sort or field selection may look at: answers would tell the secret bit by bit. */
export const isSecretPath = (kind: Kind, path: string): boolean =>
  (kind === "vm" && /^spec\.cloudInit\.(userData|password)(\.|$)/.test(path)) ||
  (kind === "host" && /^spec\.fencing(\.|$)/.test(path)) ||
  (kind === "user" && /^spec\.passwordHash(\.|$)/.test(path)) ||
  (kind === "token" && /^spec\.secretHash(\.|$)/.test(path));
