/**
 * Where on its host a domain's threads run and its memory lies, as libvirt's XML: vcpupin, emulatorpin, numatune, the guest's own NUMA cells and
 * the size of huge pages. Rendered, parsed, compared, and exchanged in the XML of a guest that moves.
 *
 * Ordinary memory is preferred from its cell, not forced: a strict cell that runs full (page cache, QEMU's own memory, machines that float)
 * makes the kernel kill the guest, while a page from the next cell costs some nanoseconds. Huge pages are forced: they are allotted whole
 * before the guest starts, so that a lack is a failed start, and those of another cell are booked for another machine.
 */
import { numberListText, parseNumberList } from "@sheaf/base";
import type { DomainChange } from "./domain-change.ts";
import type { DomainDescription } from "./domain-description.ts";
import { type XmlNode, wholeNumber } from "./xml-reader.ts";
import { type XmlElement, element, writeXml } from "./xml-writer.ts";

export type MemoryMode = "strict" | "preferred" | "interleave";

export interface HostBinding {
  /** CPUs of the host that each vCPU may run on, by its number. Empty, or fewer than there are vCPUs: any. */
  readonly vcpus: readonly (readonly number[])[];
  /** Those of all other threads. Empty: any. */
  readonly emulator: readonly number[];
  /** NUMA cells of the host that its memory comes from; `null`: any, or the guest has cells of its own. */
  readonly memory: { readonly mode: MemoryMode; readonly nodes: readonly number[] } | null;
  /** NUMA cells that the guest sees, and the host's cell of each. Empty: one. */
  readonly guestCells: readonly GuestCell[];
  /** Of huge pages: one size for all, or one for each of the guest's cells. Empty: the host's usual one. */
  readonly pageBytes: readonly number[];
}

export interface GuestCell {
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly mode: MemoryMode;
  readonly node: number;
}

export const unbound: HostBinding = { vcpus: [], emulator: [], memory: null, guestCells: [], pageBytes: [] };

const kib = (bytes: number): number => Math.floor(bytes / 1024);

export function pinElements({ vcpus, emulator }: HostBinding): XmlElement[] {
  return [
    ...vcpus.flatMap((cpus, vcpu) => (cpus.length === 0 ? [] : [element("vcpupin", { vcpu, cpuset: numberListText(cpus) })])),
    ...(emulator.length === 0 ? [] : [element("emulatorpin", { cpuset: numberListText(emulator) })]),
  ];
}

export function numatuneElement({ memory, guestCells }: HostBinding): XmlElement | undefined {
  if (guestCells.length > 0) {
    const nodes = guestCells.map(({ mode, node }, cellid) => element("memnode", { cellid, mode, nodeset: node }));
    return element("numatune", {}, ...nodes);
  }
  return memory === null ? undefined : element("numatune", {}, element("memory", { mode: memory.mode, nodeset: numberListText(memory.nodes) }));
}

export function hugepagesElement({ pageBytes, guestCells }: HostBinding): XmlElement {
  const page = (size: number, nodeset?: number): XmlElement => element("page", { size: kib(size), unit: "KiB", nodeset });
  const [first] = pageBytes;
  if (first === undefined) return element("hugepages");
  if (pageBytes.every((size) => size === first) || guestCells.length === 0) return element("hugepages", {}, page(first));
  return element("hugepages", {}, ...pageBytes.map((size, cell) => page(size, cell)));
}

/** `<numa>` in `<cpu>`; vCPUs are counted through. */
export function guestCellElements({ guestCells }: HostBinding): XmlElement[] {
  let first = 0;
  return guestCells.map(({ vcpus, memoryBytes }, id) => {
    const cpus = numberListText(Array.from({ length: vcpus }, (_, at) => first + at));
    first += vcpus;
    return element("cell", { id, cpus, memory: kib(memoryBytes), unit: "KiB" });
  });
}

export function parseBinding(domain: XmlNode): HostBinding | undefined {
  const vcpus: number[][] = [];
  for (const { attributes } of domain.all("cputune/vcpupin")) {
    const vcpu = wholeNumber(attributes["vcpu"]) ?? 0;
    while (vcpus.length <= vcpu) vcpus.push([]);
    vcpus[vcpu] = parseNumberList(attributes["cpuset"] ?? "");
  }
  const memory = domain.find("numatune/memory");
  const memnodes = domain.all("numatune/memnode");
  const shown = domain.all("cpu/numa/cell");
  const guestCells = memnodes.map(({ attributes }, place): GuestCell => {
    const cell = shown.find((one) => one.attributes["id"] === attributes["cellid"]) ?? shown[place];
    return {
      vcpus: parseNumberList(cell?.attributes["cpus"] ?? "").length,
      memoryBytes: (wholeNumber(cell?.attributes["memory"]) ?? 0) * 1024,
      mode: modeOf(attributes["mode"]),
      node: parseNumberList(attributes["nodeset"] ?? "")[0] ?? 0,
    };
  });
  const pages = domain.all("memoryBacking/hugepages/page").map(({ attributes }) => (wholeNumber(attributes["size"]) ?? 0) * 1024);
  const [page] = pages;
  const binding: HostBinding = {
    vcpus,
    emulator: parseNumberList(domain.attribute("cputune/emulatorpin", "cpuset") ?? ""),
    memory: memory === undefined ? null : { mode: modeOf(memory.attributes["mode"]), nodes: parseNumberList(memory.attributes["nodeset"] ?? "") },
    guestCells,
    pageBytes: page !== undefined && pages.length === 1 ? (guestCells.length > 0 ? guestCells.map(() => page) : pages) : pages,
  };
  return isUnbound(binding) ? undefined : binding;
}

const isUnbound = ({ vcpus, emulator, memory, guestCells, pageBytes }: HostBinding): boolean =>
  vcpus.length + emulator.length + guestCells.length + pageBytes.length === 0 && memory === null;

const modeOf = (text: string | undefined): MemoryMode => (text === "preferred" || text === "interleave" ? text : "strict");

/**
 * What of it can be changed while the domain runs: where its threads run. vCPUs that are not plugged in cannot be pinned yet; they are when they are.
 * @param hostCpus all of them: to have none of one's own is to run on any
 */
export function comparePins(now: DomainDescription, then: DomainDescription, hostCpus: readonly number[]): DomainChange[] {
  const [before, after] = [now.binding ?? unbound, then.binding ?? unbound];
  const any = numberListText(hostCpus);
  const text = (cpus: readonly number[] | undefined): string => (cpus === undefined || cpus.length === 0 ? any : numberListText(cpus));
  // Without them nobody can be let run anywhere.
  const change = (cpus: readonly number[] | undefined): readonly number[] => (cpus === undefined || cpus.length === 0 ? hostCpus : cpus);
  const changes: DomainChange[] = [];
  const count = now.id === undefined ? now.vcpus.maximum : now.vcpus.current;
  for (let vcpu = 0; vcpu < count; vcpu += 1) {
    const cpus = change(after.vcpus[vcpu]);
    if (cpus.length > 0 && text(before.vcpus[vcpu]) !== text(after.vcpus[vcpu])) changes.push({ kind: "pin-vcpu", vcpu, cpus });
  }
  const cpus = change(after.emulator);
  if (cpus.length > 0 && text(before.emulator) !== text(after.emulator)) changes.push({ kind: "pin-emulator", cpus });
  return changes;
}

/** What QEMU takes only at its start, as text to compare and to show. */
export const bindingTexts: readonly (readonly [what: string, of: (domain: DomainDescription) => string])[] = [
  ["the guest's NUMA cells", ({ binding }) => cellsText(binding)],
  ["the host's NUMA cells its memory comes from", ({ binding }) => nodesText(binding)],
  [
    "the size of huge pages",
    ({ binding }) => (binding?.pageBytes.length ? binding.pageBytes.map((size) => `${kib(size)} KiB`).join(", ") : "the host's"),
  ],
];

function cellsText(binding: HostBinding | undefined): string {
  const cells = binding?.guestCells ?? [];
  return cells.length === 0 ? "one" : `${cells.length} (of ${cells.map(({ vcpus }) => vcpus).join(", ")} vCPUs)`;
}

function nodesText(binding: HostBinding | undefined): string {
  const { guestCells = [], memory = null } = binding ?? {};
  if (guestCells.length > 0) return guestCells.map(({ mode, node }) => `${node} (${mode})`).join(", ");
  return memory === null ? "any" : `${numberListText(memory.nodes)} (${memory.mode})`;
}

/** For QEMU's own memory object (emulated-memory.ts): `,host-nodes=0,policy=preferred`. */
export function backendBinding(binding: HostBinding | undefined): string {
  if (binding?.memory == null) return "";
  const policy = binding.memory.mode === "strict" ? "bind" : binding.memory.mode;
  return `${binding.memory.nodes.map((node) => `,host-nodes=${node}`).join("")},policy=${policy}`;
}

/**
 * The XML of a guest that moves, as libvirt wrote it at the source, bound to its target: the guest sees what it saw, its threads and memory lie
 * where they are given room. libvirt's own form of it is relied on (an element a line, two spaces a level), and kept.
 */
export function rebind(xml: string, binding: HostBinding): string {
  const lines = (elements: readonly (XmlElement | undefined)[], indent: string): string =>
    elements.flatMap((one) => (one === undefined ? [] : writeXml(one).replaceAll(/^(?=.)/gm, indent))).join("");
  const pins = lines(pinElements(binding), "    ");
  let bare = xml
    .replaceAll(/^ {4}<(?:vcpupin|emulatorpin) [^>]*\/>\n/gm, "")
    .replace(/^ {2}<numatune>[\s\S]*?^ {2}<\/numatune>\n/m, "")
    .replace(/(memory-backend-ram,id=sheaf\.ram,size=\d+k)[^'"]*/, `$1${backendBinding(binding)}`);
  bare = /^ {2}<cputune>\n/m.test(bare)
    ? bare.replace(/^ {2}<cputune>\n/m, (found) => found + pins)
    : bare.replace(/^ {2}<vcpu[ >].*<\/vcpu>\n/m, (found) => `${found}${pins === "" ? "" : `  <cputune>\n${pins}  </cputune>\n`}`);
  bare = bare.replace(/^ {2}<cputune>\n {2}<\/cputune>\n/m, "");
  if (/^ {4}<hugepages/m.test(bare)) {
    const pages = lines([hugepagesElement(binding)], "    ");
    bare = bare.replace(/^ {4}<hugepages\/>\n|^ {4}<hugepages>[\s\S]*?^ {4}<\/hugepages>\n/m, pages);
  }
  return bare.replace(/^ {2}<os[ >]/m, (found) => lines([numatuneElement(binding)], "  ") + found);
}
