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
    segments.some((segment) => segment === "" || segment.length > 64 || inherited(segment)) ||
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

/** Names that every object has: refused, so that readers need not ask whose a member is. */
const inherited = (segment: string): boolean => segment in Object.prototype;

type Members = Readonly<Record<string, unknown>>;

/** @param segments as `checkedPath` gave them. Called for every record of a list: each depth has its own short function. */
export function fieldReader(presenter: Presenter, segments: readonly string[]): FieldReader {
  const [root = "", first, second, ...rest] = segments;
  if (root === "state") return (record) => presenter.state(record);
  // Records are read as what they are underneath, objects with members.
  if (first === undefined) return (record) => (record as unknown as Members)[root];
  const one: FieldReader = (record) => member((record as unknown as Members)[root], first);
  if (second === undefined) return one;
  const two: FieldReader = (record) => member(member((record as unknown as Members)[root], first), second);
  if (rest.length === 0) return two;
  return (record) => rest.reduce(member, two(record));
}

const member = (value: unknown, name: string): unknown => (typeof value === "object" && value !== null ? (value as Members)[name] : undefined); // any object has members
