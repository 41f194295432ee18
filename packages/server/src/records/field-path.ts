/**
 * Fields of records as people name them: `name`, `state`, `labels.tier`, `spec.cpu.count`, `host`. Called by filters, sorting and field
 * selection; a path never reaches a secret or anything that is not the record's own.
 */
import { isProjectKind, SheafError, type Kind, type RecordOf } from "@sheaf/model";
import { isSecretPath, type Presenter } from "./present.ts";

export type FieldReader = (record: RecordOf<Kind>) => unknown;

const roots = new Set([
  "kind",
  "id",
  "name",
  "displayName",
  "project",
  "labels",
  "number",
  "revision",
  "specRevision",
  "generation",
  "createdAt",
  "createdBy",
  "deletedAt",
  "finalizers",
  "state",
  "spec",
  "placement",
  "status",
]);
const segmentLimit = 8;

/** @throws SheafError `invalid-input` for a field that no record has */
export function checkedPath(kind: Kind, path: string, parameter: string): string[] {
  // A label's key may hold dots: all behind `labels.` is the key.
  const segments = path.startsWith("labels.") ? ["labels", path.slice("labels.".length)] : path.split(".");
  const root = segments[0] ?? "";
  const known = aliases(kind);
  const alias = Object.hasOwn(known, root) ? known[root] : undefined;
  if (alias !== undefined && segments.length === 1) return alias.split(".");
  if (
    !roots.has(root) ||
    segments.length > segmentLimit ||
    segments.some((segment) => segment === "" || segment.length > 64) ||
    isSecretPath(kind, path)
  )
    throw new SheafError("invalid-input", `There is no field ${path.slice(0, 80)} to look at.`, {
      next: "Use name, state, number, labels.<key>, createdAt, spec.<field>, status.<field> and the like.",
      errors: [{ at: parameter, message: `${path.slice(0, 80)} is no field` }],
    });
  return segments;
}

/** Short words for what people ask most. */
function aliases(kind: Kind): Readonly<Record<string, string>> {
  const common = isProjectKind(kind) ? { host: "placement.host" } : {};
  if (kind === "task") return { verb: "spec.verb", target: "spec.target.name", host: "spec.host" };
  if (kind === "host") return { cluster: "spec.cluster" };
  return common;
}

export function fieldReader(presenter: Presenter, segments: readonly string[]): FieldReader {
  const [root = "", ...rest] = segments;
  if (root === "state") return (record) => presenter.state(record);
  if (rest.length === 0) return (record) => (record as Readonly<Record<string, unknown>>)[root]; // a root field, see above
  return (record) => {
    let value: unknown = (record as Readonly<Record<string, unknown>>)[root]; // as above
    for (const segment of rest) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, segment)) return undefined;
      value = (value as Readonly<Record<string, unknown>>)[segment]; // own member, checked
    }
    return value;
  };
}
