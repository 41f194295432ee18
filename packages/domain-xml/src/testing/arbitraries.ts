/** Any valid machine spec, for properties. */
import type { VmSpec } from "@sheaf/model";
import fc from "fast-check";
import type { z } from "zod";
import { volumeId } from "./inputs.ts";

const mib = 2 ** 20;
const rate = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 0, max: 2 ** 50 }));
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });

/** Drops members that are `undefined`. */
function defined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const kept = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]?: Exclude<T[K], undefined> }; // same keys, without undefined
}

const limits = fc
  .record({
    total: fc.boolean(),
    totalOperations: fc.boolean(),
    a: rate,
    b: rate,
    c: rate,
    d: rate,
    burst: optional(rate),
    burstOperations: optional(rate),
  })
  .chain((given) =>
    fc.record({ burstMs: optional(fc.integer({ min: 1000, max: 3_600_000 })) }).map(({ burstMs }) => ({
      ...(given.total ? { totalBytesPerSecond: given.a } : { readBytesPerSecond: given.a, writeBytesPerSecond: given.b }),
      ...(given.totalOperations ? { totalOperationsPerSecond: given.c } : { readOperationsPerSecond: given.c, writeOperationsPerSecond: given.d }),
      ...defined({ burstBytesPerSecond: given.burst, burstOperationsPerSecond: given.burstOperations, burstMs }),
    })),
  );

const disk = fc
  .record({
    bus: fc.constantFrom("virtio", "scsi", "sata"),
    cache: fc.constantFrom("none", "writeback", "writethrough", "directsync", "unsafe"),
    io: fc.constantFrom("threads", "native", "io_uring"),
    discard: fc.boolean(),
    readOnly: fc.boolean(),
    limits: optional(limits),
  })
  .map(defined);

const cpu = fc
  .record({ sockets: fc.integer({ min: 1, max: 4 }), cores: fc.integer({ min: 1, max: 8 }), threads: fc.integer({ min: 1, max: 2 }) })
  .chain((topology) => {
    const maximum = topology.sockets * topology.cores * topology.threads;
    return fc
      .record({
        count: fc.integer({ min: 1, max: maximum }),
        shape: fc.boolean(),
        model: fc.constantFrom("cluster-baseline", "host-passthrough", "host-model", "Nehalem", "EPYC-Rome"),
        shares: optional(fc.integer({ min: 2, max: 10_000 })),
        limitMillicores: optional(fc.integer({ min: 10, max: 512_000 })),
      })
      .map(({ count, shape, model, shares, limitMillicores }) => ({
        count,
        maximum,
        model,
        ...(shape ? { topology } : {}),
        ...defined({ shares, limitMillicores }),
      }));
  });

const memory = fc
  .record({
    minimum: fc.integer({ min: 16, max: 4096 }),
    more: fc.integer({ min: 0, max: 4096 }),
    evenMore: optional(fc.integer({ min: 0, max: 65_536 })),
    hugepages: fc.boolean(),
  })
  .map(({ minimum, more, evenMore, hugepages }) => ({
    minimumBytes: minimum * mib,
    bytes: (minimum + more) * mib,
    ...(evenMore === undefined ? {} : { maximumBytes: (minimum + more + evenMore) * mib }),
    hugepages,
  }));

export const specArbitrary: fc.Arbitrary<z.input<typeof VmSpec>> = fc
  .record({
    cpu,
    memory,
    machineType: fc.constantFrom("q35" as const, "pc" as const),
    firmware: fc.constantFrom(
      { type: "bios" as const },
      { type: "bios" as const, tpm: true },
      { type: "uefi" as const },
      { type: "uefi" as const, secureBoot: true, tpm: true },
    ),
    bootOrder: fc.shuffledSubarray(["disk" as const, "cdrom" as const, "network" as const], { minLength: 1 }),
    disks: fc.array(disk, { maxLength: 24 }),
    cdroms: fc.array(fc.record({ image: fc.constantFrom(null, "debian"), bus: fc.constantFrom("sata" as const, "scsi" as const) }), { maxLength: 4 }),
    nics: fc.array(
      fc.record({
        model: fc.constantFrom("virtio" as const, "e1000e" as const, "e1000" as const, "rtl8139" as const),
        queues: fc.integer({ min: 1, max: 64 }),
        connected: fc.boolean(),
      }),
      { maxLength: 16 },
    ),
    graphics: fc.constantFrom("vnc" as const, "none" as const),
    guestAgent: fc.boolean(),
  })
  .map((spec) => ({
    ...spec,
    disks: spec.disks.map((one, index) => ({ ...one, name: `disk-${index}`, volume: volumeId(index) })),
    cdroms: spec.cdroms.map((one, index) => ({ ...one, name: `cd-${index}` })),
    nics: spec.nics.map((one, index) => ({ ...one, name: `eth${index}`, network: "lan", mac: `52:54:00:00:00:${(16 + index).toString(16)}` })),
  }));
