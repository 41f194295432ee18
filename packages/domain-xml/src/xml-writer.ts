/** Writes XML: the only place in this package where text becomes markup, so the only place that escapes. */

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, XmlValue>>;
  readonly children: readonly XmlChild[];
}
/** `undefined` leaves the attribute or child out. */
export type XmlValue = string | number | undefined;
export type XmlChild = XmlElement | string | number | undefined;

/** `element("vcpu", { current: 1 }, 2)` */
export function element(name: string, attributes: Readonly<Record<string, XmlValue>> = {}, ...children: readonly XmlChild[]): XmlElement {
  return { name, attributes, children: children.filter((child) => child !== undefined) };
}

/** Indented by two spaces; ends with a newline. Elements hold either elements or one text. */
export function writeXml(root: XmlElement): string {
  const lines: string[] = [];
  write(root, "", lines);
  return `${lines.join("\n")}\n`;
}

function write({ name, attributes, children }: XmlElement, indent: string, lines: string[]): void {
  let open = `${indent}<${name}`;
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) open += ` ${key}='${escapeXml(String(value))}'`;
  if (children.length === 0) {
    lines.push(`${open}/>`);
    return;
  }
  const [first] = children;
  if (typeof first === "string" || typeof first === "number") {
    lines.push(`${open}>${escapeXml(String(first))}</${name}>`);
    return;
  }
  lines.push(`${open}>`);
  for (const child of children) if (typeof child === "object") write(child, `${indent}  `, lines);
  lines.push(`${indent}</${name}>`);
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&apos;",
  "\t": "&#9;",
  "\n": "&#10;",
  "\r": "&#13;",
};

/** For text and attributes alike. Characters that XML 1.0 cannot hold at all (controls, lone surrogates) become U+FFFD. */
export function escapeXml(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd")
    .replace(/[&<>"'\t\n\r]/g, (character) => entities[character] ?? "");
}
