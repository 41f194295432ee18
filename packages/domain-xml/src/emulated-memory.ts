/**
 * Keeps a guest's memory whole when an emulated machine moves. QEMU before 9.0 clears the marks of changed pages 64 pages at a time, and
 * forgets then to let its emulated CPU mark the same pages again (mended upstream in March 2024 by "physmem: Fix migration dirty bitmap
 * coherency with TCG memory access", not in Debian 12): what the guest writes next is not copied, and it goes on at the target with old
 * bytes in some pages. QEMU marks page by page, correctly, where the memory's size is no multiple of 64 pages, so that is what such a
 * machine gets: two pages more, which the balloon takes back. libvirt rounds sizes to MiB, hence QEMU's own arguments.
 * Machines with NUMA nodes (`memory.maximumBytes`, or spread over cells) or huge pages are beyond this. docs/decisions/0012-memory-of-emulated-machines.md
 */
import type { DomainDescription } from "./domain-description.ts";
import { backendBinding } from "./host-binding.ts";
import type { XmlNode } from "./xml-reader.ts";
import { type XmlElement, element } from "./xml-writer.ts";

/** QEMU takes sizes in steps of 8 KiB. */
const moreKib = 8;
const backend = "sheaf.ram";

export const qemuNamespace = "http://libvirt.org/schemas/domain/qemu/1.0";

/** Absent where the machine is accelerated, or cannot be given memory of such a size. */
export function emulatedMemoryElement({ type, memory, binding }: DomainDescription): XmlElement | undefined {
  if (type !== "qemu" || memory.hugepages || memory.maximumBytes !== undefined || (binding?.guestCells.length ?? 0) > 0) return undefined;
  const sizeKib = Math.ceil(memory.bytes / mib) * (mib / 1024) + moreKib;
  const options = [
    ["-object", `memory-backend-ram,id=${backend},size=${sizeKib}k${backendBinding(binding)}`],
    ["-machine", `memory-backend=${backend}`],
    ["-m", `size=${sizeKib}k`],
  ];
  return element("qemu:commandline", {}, ...options.flat().map((value) => element("qemu:arg", { value })));
}

/** Of a domain's XML: whether the element is what `emulatedMemoryElement` made, and nothing else. */
export function isEmulatedMemory({ name, children }: XmlNode): boolean {
  const values = children.map(({ attributes }) => attributes["value"] ?? "");
  return name === "qemu:commandline" && values.length === 6 && values[3] === `memory-backend=${backend}`;
}

const mib = 2 ** 20;
