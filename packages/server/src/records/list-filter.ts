/** The filter language of lists (`state=running,spec.cpu.count>2,name~web`) and label selectors (`tier=web,env!=test,tier`), made into functions once a request. */
import { parseBytes } from "@sheaf/base";
import { SheafError, type Kind } from "@sheaf/model";
import { checkedPath } from "./field-path.ts";
import type { FieldTest, ValueTest } from "./list-table.ts";

const termLimit = 16;
const term = /^([A-Za-z0-9._/-]{1,200}?)(!=|>=|<=|=|>|<|~)(.*)$/s;

/** Hosts, projects, clusters and pools are known by name too. */
export interface ReferenceNames {
  nameOf(field: string, id: string): string | undefined;
  idOf(field: string, name: string): string | undefined;
}

/** @throws SheafError `invalid-input` */
export function compileFilter(kind: Kind, text: string, names: ReferenceNames): FieldTest[] {
  return terms(text, "filter").map((one) => {
    const match = term.exec(one);
    if (match === null) throw refused("filter", one, "is no condition such as state=running");
    const [, path = "", operator = "", wanted = ""] = match;
    const segments = checkedPath(kind, path, "filter");
    const test = valueTest(operator, wanted);
    const field = segments.join(".");
    if (!referenceFields.has(field)) return { segments, test };
    const id = names.idOf(field, wanted);
    if (operator === "=") return { segments, test: (value) => (id !== undefined && value === id) || test(value) };
    if (operator === "!=") return { segments, test: (value) => (id === undefined || value !== id) && test(value) };
    return { segments, test: remembered((value) => test(value) || (typeof value === "string" && test(names.nameOf(field, value) ?? value))) };
  });
}

/** Few hosts and projects stand in many records: each is asked about once a list. */
function remembered(test: ValueTest): ValueTest {
  const known = new Map<unknown, boolean>();
  return (value) => {
    let answer = known.get(value);
    if (answer === undefined) known.set(value, (answer = test(value)));
    return answer;
  };
}

const referenceFields = new Set(["placement.host", "project", "spec.cluster", "spec.host", "spec.pool"]);

/** @throws SheafError `invalid-input` */
export function compileLabels(text: string): FieldTest[] {
  return terms(text, "label").map((one) => {
    const match = /^([A-Za-z0-9]([A-Za-z0-9._/-]{0,62}))(?:(!=|=)(.*))?$/s.exec(one);
    if (match === null) throw refused("label", one, "is no selector such as tier=web, tier!=web or tier");
    const [, key = "", , operator, wanted = ""] = match;
    const segments = ["labels", key];
    // Of members that every object has, none is a text.
    if (operator === undefined) return { segments, test: (value) => typeof value === "string" };
    return { segments, test: operator === "=" ? (value) => value === wanted : (value) => typeof value !== "string" || value !== wanted };
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
