/** The filter language of lists (`state=running,spec.cpu.count>2,name~web`) and label selectors (`tier=web,env!=test,tier`), made into functions once a request. */
import { parseBytes } from "@sheaf/base";
import { SheafError, type Kind, type RecordOf } from "@sheaf/model";
import { checkedPath, fieldReader } from "./field-path.ts";
import type { Presenter } from "./present.ts";

export type RecordTest = (record: RecordOf<Kind>) => boolean;
type ValueTest = (value: unknown) => boolean;

const termLimit = 16;
const term = /^([A-Za-z0-9._/-]{1,200}?)(!=|>=|<=|=|>|<|~)(.*)$/s;

/** @throws SheafError `invalid-input` */
export function compileFilter(
  presenter: Presenter,
  kind: Kind,
  text: string,
  nameOf: (field: string, id: string) => string | undefined,
): RecordTest[] {
  return terms(text, "filter").map((one) => {
    const match = term.exec(one);
    if (match === null) throw refused("filter", one, "is no condition such as state=running");
    const [, path = "", operator = "", wanted = ""] = match;
    const segments = checkedPath(kind, path, "filter");
    const read = fieldReader(presenter, segments);
    const test = valueTest(operator, wanted);
    const field = segments.join(".");
    if (!referenceFields.has(field)) return (record) => test(read(record));
    // Hosts, projects and clusters are known by name too.
    const either: ValueTest = (value) => test(value) || (typeof value === "string" && test(nameOf(field, value) ?? value));
    return operator === "!="
      ? (record) => {
          const value = read(record);
          return test(value) && (typeof value !== "string" || test(nameOf(field, value) ?? value));
        }
      : (record) => either(read(record));
  });
}

const referenceFields = new Set(["placement.host", "project", "spec.cluster", "spec.host", "spec.pool"]);

/** @throws SheafError `invalid-input` */
export function compileLabels(text: string): RecordTest[] {
  return terms(text, "label").map((one) => {
    const match = /^([A-Za-z0-9]([A-Za-z0-9._/-]{0,62}))(?:(!=|=)(.*))?$/s.exec(one);
    if (match === null) throw refused("label", one, "is no selector such as tier=web, tier!=web or tier");
    const [, key = "", , operator, wanted = ""] = match;
    // Of members that every object has, none is a text.
    const read = (record: RecordOf<Kind>): string | undefined => {
      const value = record.labels[key];
      return typeof value === "string" ? value : undefined;
    };
    if (operator === undefined) return (record) => read(record) !== undefined;
    return operator === "=" ? (record) => read(record) === wanted : (record) => read(record) !== wanted;
  });
}

function valueTest(operator: string, wanted: string): ValueTest {
  const number = wanted === "" ? Number.NaN : Number(wanted);
  const amount = Number.isNaN(number) ? (/^\d/.test(wanted) ? (parseBytes(wanted) ?? Number.NaN) : Number.NaN) : number;
  const small = wanted.toLowerCase();
  switch (operator) {
    case "=":
      return (value) => equals(value, wanted, amount);
    case "!=":
      return (value) => !equals(value, wanted, amount);
    case "~":
      return (value) => holdsText(value, small);
    case ">":
      return (value) => order(value, wanted, amount) > 0;
    case ">=":
      return (value) => order(value, wanted, amount) >= 0;
    case "<":
      return (value) => order(value, wanted, amount) < 0;
    default:
      return (value) => order(value, wanted, amount) <= 0;
  }
}

function equals(value: unknown, wanted: string, amount: number): boolean {
  if (typeof value === "string") return value === wanted;
  if (typeof value === "number") return value === amount;
  if (typeof value === "boolean") return String(value) === wanted;
  if (Array.isArray(value)) return value.some((item) => equals(item, wanted, amount));
  return value == null && wanted === "";
}

function holdsText(value: unknown, small: string): boolean {
  if (typeof value === "string") return value.toLowerCase().includes(small);
  if (typeof value === "number") return String(value).includes(small);
  return Array.isArray(value) && value.some((item) => holdsText(item, small));
}

/** NaN where they cannot be compared: every comparison with it is false. */
function order(value: unknown, wanted: string, amount: number): number {
  if (typeof value === "number") return value - amount;
  if (typeof value === "string") return value < wanted ? -1 : value > wanted ? 1 : 0;
  return Number.NaN;
}

function terms(text: string, parameter: string): string[] {
  const found = text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
  if (found.length > termLimit) throw refused(parameter, text.slice(0, 60), `has more than ${termLimit} conditions`);
  return found;
}

const refused = (parameter: string, text: string, message: string): SheafError =>
  new SheafError("invalid-input", `In ${parameter}: "${text.slice(0, 80)}" ${message}.`, {
    errors: [{ at: parameter, message: `"${text.slice(0, 80)}" ${message}` }],
  });
