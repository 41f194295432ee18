/**
 * What etcd's refusals mean in the store's contract. The one question that matters: is it certain that nothing was committed?
 * Only refusals that etcd gives before it proposes, or when it applies, are; whatever else happens to a write is `uncertain`.
 */
import { StoreError } from "../store.ts";
import type { StoreErrorCode } from "../store.ts";

/** A failed call, before anybody knows whether it was a write. */
export class EtcdCallError extends Error {
  override readonly name = "EtcdCallError";
  /** Etcd's own words, or the transport's. */
  readonly details: string;
  /** Whether asking another member, or the same one later, may help. */
  readonly retry: boolean;
  /** The request cannot have had any effect. */
  readonly harmless: boolean;
  readonly known: StoreErrorCode | null;

  constructor(endpoint: string, details: string, transportFailed: boolean) {
    super(`etcd at ${endpoint}: ${details}`);
    this.details = details;
    const refusal = refusals.find(({ words }) => details.includes(words));
    this.known = refusal?.code ?? null;
    this.harmless = refusal !== undefined;
    this.retry = refusal === undefined ? transportFailed : refusal.code === "unavailable";
  }

  /** For calls that may be repeated: nothing is in doubt. */
  asRead(): StoreError {
    return new StoreError(this.known ?? "unavailable", this.message, { cause: this });
  }

  asWrite(): StoreError {
    if (this.known !== null) return new StoreError(this.known, this.message, { cause: this });
    return new StoreError("uncertain", `${this.message}; the transaction is perhaps committed: look before repeating it`, { cause: this });
  }
}

const refusals: readonly { readonly words: string; readonly code: StoreErrorCode }[] = [
  { words: "required revision has been compacted", code: "compacted" },
  { words: "required revision is a future revision", code: "future-revision" },
  { words: "requested lease not found", code: "lease-expired" },
  { words: "database space exceeded", code: "full" },
  { words: "request is too large", code: "too-large" },
  { words: "too many operations in txn request", code: "too-many-operations" },
  { words: "duplicate key given in txn request", code: "duplicate-key" },
  { words: "key is not provided", code: "invalid" },
  { words: "corrupt cluster", code: "corrupt" },
  // Said before the request is proposed.
  { words: "etcdserver: no leader", code: "unavailable" },
  { words: "etcdserver: too many requests", code: "unavailable" },
  { words: "etcdserver: not capable", code: "unavailable" },
  { words: "permission denied", code: "unavailable" },
  { words: "invalid auth token", code: "unavailable" },
  { words: "user name is empty", code: "unavailable" },
];
