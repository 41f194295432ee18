/**
 * Gives disks and CD drives their names (`vda`, `sda`) and, on SCSI and SATA, their place on the bus. A device that had a name
 * before keeps it. Used by describeDomain and by comparing, to attach to a running domain.
 */
import { cdromAlias, diskAlias, ownAlias, targetName } from "./device-names.ts";
import type { DeviceAddress, DomainDescription } from "./domain-description.ts";

type Bus = "virtio" | "scsi" | "sata";

interface Slot {
  readonly target: string;
  readonly address?: DeviceAddress;
}

/** A SATA controller has six ports. */
const sataPorts = 6;

export class DiskSlots {
  readonly #before = new Map<string, Slot & { readonly bus: Bus }>();
  readonly #targets = new Set<string>();
  readonly #places = new Set<string>();

  /**
   * @param taken the domain whose names are taken
   * @param same whether a device with the alias of one there is that device, and keeps its name, or a new one beside it
   */
  constructor(taken?: DomainDescription, same: "kept" | "new" = "kept") {
    const devices = [
      ...(taken?.disks ?? []).map((device) => ({ device, key: ownAlias(device) ?? diskAlias(device.target) })),
      ...(taken?.cdroms ?? []).map((device) => ({ device, key: ownAlias(device) ?? cdromAlias(device.target) })),
    ];
    for (const { device, key } of devices) {
      this.#targets.add(device.target);
      if (device.address?.type === "drive") this.#places.add(placeKey(device.bus, device.address));
      if (same === "kept") {
        const { bus, target, address } = device;
        this.#before.set(key, { bus, target, ...(address === undefined ? {} : { address }) });
      }
    }
  }

  take(bus: Bus, alias: string): Slot {
    const before = this.#before.get(alias);
    if (before?.bus === bus) return { target: before.target, ...(before.address === undefined ? {} : { address: before.address }) };
    const target = this.#freeTarget(bus === "virtio" ? "vd" : "sd");
    // Virtio disks are PCI devices: libvirt finds them a port.
    return bus === "virtio" ? { target } : { target, address: this.#freePlace(bus) };
  }

  #freeTarget(prefix: "vd" | "sd"): string {
    for (let index = 0; ; index += 1) {
      const name = targetName(prefix, index);
      if (this.#targets.has(name)) continue;
      this.#targets.add(name);
      return name;
    }
  }

  #freePlace(bus: "scsi" | "sata"): DeviceAddress {
    for (let index = 0; ; index += 1) {
      const place =
        bus === "scsi"
          ? { type: "drive" as const, controller: 0, bus: 0, target: index, unit: 0 }
          : { type: "drive" as const, controller: Math.floor(index / sataPorts), bus: 0, target: 0, unit: index % sataPorts };
      const key = placeKey(bus, place);
      if (this.#places.has(key)) continue;
      this.#places.add(key);
      return place;
    }
  }
}

const placeKey = (bus: Bus, place: Extract<DeviceAddress, { type: "drive" }>): string =>
  `${bus}:${place.controller}:${place.bus}:${place.target}:${place.unit}`;
