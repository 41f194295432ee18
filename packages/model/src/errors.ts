/**
 * The closed list of problems Sheaf reports. Thrown as `SheafError` everywhere, mapped to HTTP only at the edge (RFC 9457).
 * A message says what happened, why, and what to do next. docs/reference/errors.md is checked against this list, both ways.
 */
export const problems = {
  "invalid-input": { status: 400, exit: 2, retry: "never", meaning: "The request does not fit the schema; `errors` names each field." },
  unauthenticated: { status: 401, exit: 5, retry: "never", meaning: "No valid session, token or certificate came with the request." },
  "not-allowed": { status: 403, exit: 5, retry: "never", meaning: "The caller lacks the privilege that the route asks for." },
  "not-found": { status: 404, exit: 3, retry: "never", meaning: "There is no such record, or the caller may not know of it." },
  "method-not-allowed": { status: 405, exit: 2, retry: "never", meaning: "The path exists, the method does not." },
  "not-acceptable": { status: 406, exit: 2, retry: "never", meaning: "The answer cannot be given in the form that was asked for." },
  conflict: { status: 409, exit: 4, retry: "after-change", meaning: "Somebody else changed the record meanwhile, or the name is taken." },
  "name-taken": { status: 409, exit: 4, retry: "after-change", meaning: "A record of this kind has that name (or number, address, MAC) already." },
  "state-refused": {
    status: 409,
    exit: 4,
    retry: "after-change",
    meaning: "The record's state does not allow this now; the detail says what would.",
  },
  "in-use": { status: 409, exit: 4, retry: "after-change", meaning: "Another record still refers to this one." },
  "idempotency-mismatch": { status: 422, exit: 4, retry: "never", meaning: "The Idempotency-Key was used before with another body." },
  "precondition-failed": { status: 412, exit: 4, retry: "after-change", meaning: "If-Match names a revision of the spec that is no longer current." },
  "too-large": { status: 413, exit: 2, retry: "never", meaning: "The body, or a value in it, exceeds its limit." },
  "unsupported-media": { status: 415, exit: 2, retry: "never", meaning: "The content type or the image format is not one that Sheaf reads." },
  "quota-exceeded": {
    status: 403,
    exit: 4,
    retry: "after-change",
    meaning: "The project's quota does not leave room; the detail names the quota and its use.",
  },
  "no-capacity": { status: 409, exit: 4, retry: "later", meaning: "No host, pool or address range has room; the detail says how much is missing." },
  throttled: { status: 429, exit: 1, retry: "later", meaning: "Too many requests or failed sign-ins; `Retry-After` says when to come back." },
  compacted: { status: 410, exit: 1, retry: "later", meaning: "The revision asked for is no longer kept: list again, then watch." },
  "image-refused": { status: 422, exit: 4, retry: "never", meaning: "The image is broken, refers to other files, or does not match its checksum." },
  "host-unreachable": { status: 503, exit: 6, retry: "later", meaning: "The host's agent is not connected; the change waits or was not made." },
  "hypervisor-failed": { status: 502, exit: 1, retry: "later", meaning: "libvirt or QEMU refused; the cause holds its words." },
  "fencing-failed": {
    status: 502,
    exit: 1,
    retry: "later",
    meaning: "The device that cuts the host's power refused or could not be reached; the cause holds its words.",
  },
  "upgrade-failed": {
    status: 502,
    exit: 1,
    retry: "after-change",
    meaning: "An agent's new version was refused by its host, or did not prove itself there: the version before works on.",
  },
  "timed-out": { status: 504, exit: 6, retry: "later", meaning: "No answer in time. The work may have been done: look before you repeat it." },
  uncertain: {
    status: 503,
    exit: 6,
    retry: "same-key",
    meaning: "The store did not confirm in time, the change may be made: repeat with the same Idempotency-Key.",
  },
  unavailable: { status: 503, exit: 6, retry: "later", meaning: "The server is starting, stopping, or its store cannot be reached." },
  "store-full": { status: 507, exit: 1, retry: "after-change", meaning: "The server's disk or store is full; nothing was changed." },
  cancelled: { status: 409, exit: 1, retry: "never", meaning: "The work was cancelled by a person." },
  internal: { status: 500, exit: 1, retry: "later", meaning: "A defect in Sheaf. The log of the server has the details under the request's id." },
} as const satisfies Record<string, { status: number; exit: number; retry: "never" | "later" | "after-change" | "same-key"; meaning: string }>;

export type ProblemCode = keyof typeof problems;

export interface FieldProblem {
  /** JSON pointer into the body, or the parameter's name. */
  readonly at: string;
  readonly message: string;
}

export interface ProblemExtra {
  /** What to do next, in one sentence. */
  readonly next?: string;
  /** The words of whoever refused underneath (libvirt, qemu-img, the store). */
  readonly cause?: string;
  readonly errors?: readonly FieldProblem[];
  readonly retryAfterMs?: number;
}

/** The one error that crosses package borders. */
export class SheafError extends Error {
  readonly code: ProblemCode;
  readonly extra: ProblemExtra;
  constructor(code: ProblemCode, message: string, extra: ProblemExtra = {}) {
    super(message);
    this.name = "SheafError";
    this.code = code;
    this.extra = extra;
  }
}

/** RFC 9457 problem details with Sheaf's members. */
export interface ProblemDetails {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
  readonly retry: (typeof problems)[ProblemCode]["retry"];
  readonly next?: string;
  readonly cause?: string;
  readonly errors?: readonly FieldProblem[];
  readonly requestId?: string;
}

export function toProblemDetails(error: SheafError, requestId?: string): ProblemDetails {
  const { status, retry, meaning } = problems[error.code];
  const { next, cause, errors } = error.extra;
  return {
    type: `urn:sheaf:problem:${error.code}`,
    title: meaning,
    status,
    detail: error.message,
    code: error.code,
    retry,
    ...(next === undefined ? {} : { next }),
    ...(cause === undefined ? {} : { cause }),
    ...(errors === undefined ? {} : { errors }),
    ...(requestId === undefined ? {} : { requestId }),
  };
}
