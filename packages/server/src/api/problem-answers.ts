/** Whatever was thrown, as the problem that is answered (RFC 9457). The only place where errors become HTTP. */
import { SheafError, toProblemDetails, type FieldProblem } from "@sheaf/model";
import { StoreError, type StoreErrorCode } from "@sheaf/store";
import { z } from "zod";
import { pointerToken } from "./request-body.ts";

const fieldLimit = 50;

const ofStore: Readonly<Record<StoreErrorCode, ConstructorParameters<typeof SheafError>>> = {
  uncertain: ["uncertain", "The store did not confirm in time: the change may be made.", { next: "Look before you repeat it." }],
  unavailable: ["unavailable", "The store does not answer.", { next: "Try again in a moment." }],
  closed: ["unavailable", "The server is stopping.", { next: "Try again in a moment." }],
  corrupt: ["unavailable", "What is stored cannot be read.", { next: "Look at the server's log; restore a backup." }],
  locked: ["unavailable", "The store is open elsewhere.", { next: "Look at the server's log." }],
  "newer-schema": ["unavailable", "The store was written by a newer version.", { next: "Update the server." }],
  "watch-failed": ["unavailable", "The server lost track of the store.", { next: "Try again in a moment." }],
  "lease-expired": ["unavailable", "The store ended a lease too early.", { next: "Try again." }],
  compacted: ["compacted", "The revision asked for is no longer kept.", { next: "List again, then watch." }],
  "future-revision": ["timed-out", "This server has not seen that revision yet.", { next: "Try again." }],
  full: ["store-full", "The server's disk is full; nothing was changed.", { next: "Free space on the server." }],
  "too-large": ["too-large", "The record would be larger than the store takes.", { next: "Make it smaller." }],
  "too-many-operations": ["too-large", "This needs more changes than one transaction holds.", { next: "Ask for less at once." }],
  "duplicate-key": ["internal", "A transaction touched a key twice."],
  invalid: ["internal", "The store refused a key or value."],
};

export function toSheafError(thrown: unknown): SheafError {
  if (thrown instanceof SheafError) return thrown;
  if (thrown instanceof StoreError) {
    const [code, message, extra] = ofStore[thrown.code];
    return new SheafError(code, message, { ...extra, cause: thrown.message.slice(0, 500) });
  }
  return (
    ofFastify(thrown) ??
    new SheafError("internal", "The server made a mistake.", { next: "Look at the server's log under the request's id, and report it." })
  );
}

/** What the HTTP server itself refuses. */
function ofFastify(thrown: unknown): SheafError | null {
  const { code, statusCode } = (typeof thrown === "object" && thrown !== null ? thrown : {}) as { code?: unknown; statusCode?: unknown }; // any thrown thing may have them
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new SheafError("too-large", "The body is larger than the server takes.", { next: "Ask for less at once." });
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new SheafError("unsupported-media", "The body's content type is not one that the server reads.", { next: "Send application/json." });
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
    case "FST_ERR_BAD_URL":
    case "FST_ERR_CTP_INVALID_JSON_BODY":
      return new SheafError("invalid-input", "The request is malformed.", { cause: thrown instanceof Error ? thrown.message.slice(0, 200) : "" });
    default:
      return typeof statusCode === "number" && statusCode >= 400 && statusCode < 500
        ? new SheafError("invalid-input", "The request is malformed.", { cause: thrown instanceof Error ? thrown.message.slice(0, 200) : "" })
        : null;
  }
}

export function problemText(error: SheafError, requestId: string): string {
  return JSON.stringify(toProblemDetails(error, requestId));
}

/** @param what where the fields are: `body` gives JSON pointers, others the parameter's name. @param under pointer to what was checked */
export function invalidFields(error: z.ZodError, what: "body" | "query" | "path", under = ""): SheafError {
  const errors = error.issues.flatMap((issue) => fieldsOf(issue, what, under)).slice(0, fieldLimit);
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  return new SheafError("invalid-input", first === undefined ? "The request is not valid." : `${first.at || "The body"} ${first.message}${more}.`, {
    next: "Correct the fields that are named and send it again.",
    errors,
  });
}

type Issue = z.core.$ZodIssue;

function fieldsOf(issue: Issue, what: string, under: string): FieldProblem[] {
  const at = (path: readonly PropertyKey[]): string =>
    what === "body" ? under + path.map((part) => `/${pointerToken(String(part))}`).join("") : path.map(String).join(".");
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => ({ at: at([...issue.path, key]), message: "is not known here" }));
  if (issue.code === "invalid_union") {
    // The alternative that came nearest: the fewest complaints.
    const nearest = [...issue.errors].sort((left, right) => left.length - right.length)[0];
    if (nearest !== undefined && nearest.length > 0)
      return nearest.flatMap((inner) =>
        fieldsOf({ ...inner, path: [...issue.path, ...inner.path] } as Issue /* the same issue, further in */, what, under),
      );
  }
  const message = "input" in issue && issue.input === undefined && issue.code === "invalid_type" ? "is needed" : shortMessage(issue);
  return [{ at: at(issue.path), message }];
}

function shortMessage(issue: Issue): string {
  if (issue.code === "invalid_type" && issue.message.endsWith(" received undefined")) return "is needed";
  return issue.message.slice(0, 300);
}
