/** Refusals that several kinds' rules raise in the same words. */
import { SheafError } from "@sheaf/model";

export const invalid = (at: string, message: string, detail = `The field ${at} ${message}.`): SheafError =>
  new SheafError("invalid-input", detail, { errors: [{ at, message }] });

export const fixed = (at: string, what: string, next: string): SheafError =>
  new SheafError("state-refused", `${what} cannot be changed.`, { next, errors: [{ at, message: "cannot be changed" }] });

/** Are two JSON values the same? Order of members does not count; a member that is `undefined` is as one that is absent. */
export function sameJson(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return false;
  if (Array.isArray(left) || Array.isArray(right))
    return Array.isArray(left) && Array.isArray(right) && left.length === right.length && left.every((item, index) => sameJson(item, right[index]));
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  const member = (value: object, key: string): unknown => (Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined); // own members only
  for (const key of keys) if (!sameJson(member(left, key), member(right, key))) return false;
  return true;
}
