/** From bytes to a checked JSON value: nothing deeper, wider or stranger than the product means gets further. Called for every body. */
import { isUtf8 } from "node:buffer";
import { SheafError } from "@sheaf/model";

/** Member names that could reach an object's prototype in careless code further in. */
const refusedKeys = new Set(["__proto__", "constructor", "prototype"]);

/**
 * @returns `undefined` for an empty body
 * @throws SheafError `invalid-input`
 */
export function parseBody(bytes: Buffer, depthLimit: number): unknown {
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes)) throw new SheafError("invalid-input", "The body is not UTF-8.", { next: "Send JSON in UTF-8." });
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SheafError("invalid-input", "The body is no JSON.", {
      next: "Send one JSON document.",
      cause: error instanceof Error ? error.message.slice(0, 200) : "",
    });
  }
  check(value, "", depthLimit);
  const twice = repeatedMember(text);
  if (twice !== null) throw refused(`the member ${JSON.stringify(twice)}`, "stands twice in one object");
  return value;
}

/**
 * The name of a member that an object has twice. JSON.parse keeps the last one in silence, so that whoever wrote the first is not obeyed.
 * @param text JSON that was parsed already
 */
function repeatedMember(text: string): string | null {
  const objects: (Set<string> | null)[] = [];
  let last = "";
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '"': {
        const start = at;
        at += 1;
        while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
        last = text.slice(start, at + 1);
        break;
      }
      case "{":
        objects.push(new Set());
        break;
      case "[":
        objects.push(null);
        break;
      case "}":
      case "]":
        objects.pop();
        break;
      case ":": {
        const name = JSON.parse(last) as string; // what stands before a colon is a string
        const names = objects.at(-1);
        if (names?.has(name)) return name;
        names?.add(name);
      }
    }
  }
  return null;
}

function check(value: unknown, at: string, left: number): void {
  if (typeof value === "string") return checkText(value, at);
  if (typeof value !== "object" || value === null) return;
  if (left === 0) throw refused(at, "is nested too deeply");
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) check(value[index], `${at}/${index}`, left - 1);
    return;
  }
  for (const key of Object.keys(value)) {
    const below = `${at}/${pointerToken(key)}`;
    if (refusedKeys.has(key)) throw refused(below, "is no name that a member may have");
    checkText(key, below);
    check((value as Record<string, unknown>)[key], below, left - 1); // an own member
  }
}

/** The store takes neither. */
function checkText(text: string, at: string): void {
  if (text.includes("\0") || !text.isWellFormed()) throw refused(at, "must not hold NUL characters or half surrogate pairs");
}

export const pointerToken = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1").slice(0, 200);

const refused = (at: string, message: string): SheafError =>
  new SheafError("invalid-input", `In the body, ${at.slice(0, 200) || "it"} ${message}.`, { errors: [{ at: at.slice(0, 500) || "/", message }] });
