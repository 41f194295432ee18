/** Reads XML into a plain tree. What it throws is for the agent's log: libvirt wrote the text, so a failure is a defect or a truncated answer. */
import { parseXml, XmlElement, XmlText } from "@rgrove/parse-xml";
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
    root = nodeOf(parseXml(xml).root ?? new XmlElement(""));
  } catch (error) {
    throw new SheafError("internal", `libvirt's XML of a ${rootName} cannot be read`, {
      cause: error instanceof Error ? error.message : String(error),
    });
  }
  if (root.name !== rootName) throw new SheafError("internal", `libvirt's XML holds no <${rootName}>`, { cause: xml.slice(0, 200) });
  return root;
}

function nodeOf(element: XmlElement): XmlNode {
  const children: XmlNode[] = [];
  let text = "";
  for (const child of element.children) {
    if (child instanceof XmlElement) children.push(nodeOf(child));
    else if (child instanceof XmlText) text += child.text;
  }
  return new XmlNode(element.name, element.attributes, children, text);
}
