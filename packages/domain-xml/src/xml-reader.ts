/** Reads XML into a plain tree. What it throws is for the agent's log: libvirt wrote the text, so a failure is a defect or a truncated answer. */
import { XMLParser, XMLValidator } from "fast-xml-parser";
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
  const valid = XMLValidator.validate(xml);
  if (valid !== true) throw new SheafError("internal", `libvirt's XML of a ${rootName} cannot be read`, { cause: valid.err.msg });
  const parser = new XMLParser({
    preserveOrder: true,
    ignoreAttributes: false,
    attributeNamePrefix: "",
    parseTagValue: false,
    parseAttributeValue: false,
    trimValues: false,
    // Numeric references too: libvirt writes &#10; in attributes.
    htmlEntities: true,
    ignoreDeclaration: true,
    ignorePiTags: true,
  });
  const tree: unknown = parser.parse(xml);
  const root = nodes(tree).find((node) => node.name === rootName);
  if (root === undefined) throw new SheafError("internal", `libvirt's XML holds no <${rootName}>`, { cause: xml.slice(0, 200) });
  return root;
}

/** fast-xml-parser's ordered form: a list of `{ name: children, ":@": attributes }` and `{ "#text": text }`. */
function nodes(list: unknown): XmlNode[] {
  if (!Array.isArray(list)) return [];
  const result: XmlNode[] = [];
  for (const item of list as readonly Readonly<Record<string, unknown>>[] /* the form above */) {
    const name = Object.keys(item).find((key) => key !== ":@" && !key.startsWith("#"));
    if (name === undefined) continue;
    const inner = item[name];
    const texts = Array.isArray(inner)
      ? inner.map((child: Readonly<Record<string, unknown>>) => child["#text"]).filter((text) => typeof text === "string")
      : [];
    const attributes: Record<string, string> = {};
    for (const [key, value] of Object.entries(item[":@"] ?? {})) attributes[key] = String(value);
    result.push(new XmlNode(name, attributes, nodes(inner), texts.join("")));
  }
  return result;
}
