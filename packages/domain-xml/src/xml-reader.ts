/** Reads XML into a plain tree. What it throws is for the agent's log: libvirt wrote the text, so a failure is a defect or a truncated answer. */
import { SheafError } from "@sheaf/model";

export class XmlNode {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlNode[];
  readonly text: string;

  constructor(name: string, attributes: Readonly<Record<string, string>>, children: readonly XmlNode[], text: string) {
    this.name = name;
    this.attributes = attributes;
    this.children = children;
    this.text = text;
  }

  /** First element at `path`, such as `devices/emulator`. */
  find(path: string): XmlNode | undefined {
    const cut = path.indexOf("/");
    const first = cut === -1 ? path : path.slice(0, cut);
    const child = this.children.find(({ name }) => name === first);
    return cut === -1 ? child : child?.find(path.slice(cut + 1));
  }

  /** All elements at `path`; only the last step may match several. */
  all(path: string): readonly XmlNode[] {
    const cut = path.lastIndexOf("/");
    const parent = cut === -1 ? this : this.find(path.slice(0, cut));
    const name = path.slice(cut + 1);
    return parent?.children.filter((child) => child.name === name) ?? [];
  }

  attribute(path: string, name: string): string | undefined {
    return path === "" ? this.attributes[name] : this.find(path)?.attributes[name];
  }

  textOf(path: string): string | undefined {
    return this.find(path)?.text;
  }

  /** A whole number at `path`, or `undefined` where it is missing or none. */
  number(path: string): number | undefined {
    return wholeNumber(this.textOf(path));
  }
}

export function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d+$/.test(text.trim()) ? Number(text) : undefined;
}

/** @throws SheafError `internal` where `xml` is not well-formed, or its root is not `<rootName>` */
export function readXml(xml: string, rootName: string): XmlNode {
  let root: XmlNode;
  try {
    root = new Reader(xml).document();
  } catch (error) {
    throw new SheafError("internal", `libvirt's XML of a ${rootName} cannot be read`, {
      cause: error instanceof Error ? error.message : String(error),
    });
  }
  if (root.name !== rootName) throw new SheafError("internal", `libvirt's XML holds no <${rootName}>`, { cause: xml.slice(0, 200) });
  return root;
}

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
/** What no name has in it; spaces and controls are below. */
const notInNames = new Set([..."/>=<'\"&?!"].map((character) => character.charCodeAt(0)));
const space = 32;
/** Far deeper than any domain. */
const deepest = 100;

/**
 * Elements, attributes, text, character data and the five named entities of XML 1.0, which is all that libvirt writes: no document type, no
 * entities of its own, no name spaces resolved. Strict: what is cut off or unbalanced is refused. An agent reads two documents each time it
 * looks at a machine, so this is built for speed.
 */
class Reader {
  readonly #xml: string;
  #at = 0;
  #depth = 0;

  constructor(xml: string) {
    this.#xml = xml;
  }

  /** @throws Error */
  document(): XmlNode {
    this.#skipAround();
    const root = this.#element();
    this.#skipAround();
    if (this.#at < this.#xml.length) throw this.#unexpected("after the last element");
    return root;
  }

  /** Spaces, comments and processing instructions. */
  #skipAround(): void {
    for (;;) {
      this.#spaces();
      if (this.#xml.startsWith("<?", this.#at)) this.#through("?>");
      else if (this.#xml.startsWith("<!--", this.#at)) this.#through("-->");
      else return;
    }
  }

  #element(): XmlNode {
    if ((this.#depth += 1) > deepest) throw this.#unexpected("deeper than elements are taken");
    if (this.#xml[this.#at] !== "<") throw this.#unexpected("where an element was to begin");
    this.#at += 1;
    const name = this.#name();
    const attributes = this.#attributes();
    const empty = this.#xml.startsWith("/>", this.#at);
    this.#at += empty ? 2 : 1;
    const children: XmlNode[] = [];
    const text = empty ? "" : this.#content(name, children);
    this.#depth -= 1;
    return new XmlNode(name, attributes, children, text);
  }

  /** Ends before `>` or `/>`. */
  #attributes(): Record<string, string> {
    // Names come from outside: none of them may mean anything to an object.
    const attributes = Object.create(null) as Record<string, string>;
    for (;;) {
      this.#spaces();
      const next = this.#xml[this.#at];
      if (next === ">" || (next === "/" && this.#xml[this.#at + 1] === ">")) return attributes;
      const name = this.#name();
      this.#spaces();
      if (this.#xml[this.#at] !== "=") throw this.#unexpected(`after the attribute ${name}`);
      this.#at += 1;
      this.#spaces();
      const quote = this.#xml[this.#at];
      const end = quote === "'" || quote === '"' ? this.#xml.indexOf(quote, this.#at + 1) : -1;
      if (end < 0 || name in attributes) throw this.#unexpected(`in the attribute ${name}`);
      const value = this.#xml.slice(this.#at + 1, end);
      if (value.includes("<")) throw this.#unexpected(`in the attribute ${name}`);
      attributes[name] = decoded(value);
      this.#at = end + 1;
    }
  }

  /** Through the end tag. @returns the text, without that of `children`, which are added */
  #content(name: string, children: XmlNode[]): string {
    let text = "";
    for (;;) {
      const next = this.#xml.indexOf("<", this.#at);
      if (next < 0) throw new Error(`the XML ends within <${name}>`);
      if (next > this.#at) text += decoded(this.#xml.slice(this.#at, next));
      this.#at = next;
      const sign = this.#xml[next + 1];
      if (sign === "/") {
        this.#at += 2;
        if (this.#name() !== name) throw this.#unexpected(`where </${name}> was to stand`);
        this.#spaces();
        if (this.#xml[this.#at] !== ">") throw this.#unexpected(`in </${name}>`);
        this.#at += 1;
        return text;
      }
      if (this.#xml.startsWith("<![CDATA[", next)) {
        const from = next + "<![CDATA[".length;
        this.#through("]]>");
        text += this.#xml.slice(from, this.#at - 3);
      } else if (this.#xml.startsWith("<!--", next)) this.#through("-->");
      else if (sign === "?") this.#through("?>");
      else children.push(this.#element());
    }
  }

  #name(): string {
    const from = this.#at;
    for (let code = this.#xml.charCodeAt(from); code > space && !notInNames.has(code); code = this.#xml.charCodeAt(this.#at)) this.#at += 1;
    if (this.#at === from) throw this.#unexpected("where a name was to stand");
    return this.#xml.slice(from, this.#at);
  }

  /** XML's own: space, tab and the ends of lines. */
  #spaces(): void {
    for (;;) {
      const code = this.#xml.charCodeAt(this.#at);
      if (code !== space && code !== 9 && code !== 10 && code !== 13) return;
      this.#at += 1;
    }
  }

  #through(end: string): void {
    const at = this.#xml.indexOf(end, this.#at);
    if (at < 0) throw new Error(`the XML ends before ${end}`);
    this.#at = at + end.length;
  }

  #unexpected(where: string): Error {
    const found = this.#xml.slice(this.#at, this.#at + 20);
    return new Error(`${found === "" ? "the XML ends" : `unexpected ${JSON.stringify(found)}`} ${where}`);
  }
}

/** @throws Error for a reference that is none of XML's own */
function decoded(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&([^;\s&]*);?/g, (whole, name: string) => {
    const code = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name);
    const point = code ? Number.parseInt(code[1] ?? code[2] ?? "", code[1] === undefined ? 10 : 16) : Number.NaN;
    const found = code ? (point <= 0x10ffff ? String.fromCodePoint(point) : undefined) : entities[name];
    if (found === undefined || !whole.endsWith(";")) throw new Error(`${whole} stands for nothing`);
    return found;
  });
}
