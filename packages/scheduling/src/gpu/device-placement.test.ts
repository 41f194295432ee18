/** Machines that wish for devices of their host: which they get, why they get none, and when others may have them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlacedDevices, VmSpec } from "@sheaf/model";
import type { z } from "zod";
import { place, rank } from "../place.ts";
import { planBatch } from "../plan-batch.ts";
import { buildSnapshot, type SnapshotIndex } from "../snapshot.ts";
import { dividedGpu, gpu, networkCard, slices } from "../testing/host-devices.ts";
import { gib, host, type HostOptions, id, vm, type VmOptions } from "../testing/records.ts";

type Wish = z.input<typeof VmSpec>;
const withGpus = (n: number, gpus: Wish["gpus"], more: Wish = {}) => vm(n, { spec: { ...more, ...(gpus === undefined ? {} : { gpus }) } });
const site = (...hosts: readonly HostOptions[]): SnapshotIndex => buildSnapshot(hosts.map((options, n) => host(n + 1, options)));
const decide = (snapshot: SnapshotIndex, n: number, spec: Wish) => place(snapshot.request(vm(n, { spec })), snapshot);
const addresses = (devices: PlacedDevices | undefined): string[] => (devices?.gpus ?? []).map(({ address }) => address);

function takes(snapshot: SnapshotIndex, n: number, spec: Wish): PlacedDevices {
  const request = snapshot.request(vm(n, { spec }));
  const decision = place(request, snapshot);
  assert.ok(!decision.none, decision.none ? decision.reason : "");
  snapshot.reserve(request, decision.host, decision.devices);
  return decision.devices ?? {};
}

function refused(snapshot: SnapshotIndex, spec: Wish): string {
  const decision = decide(snapshot, 99, spec);
  assert.ok(decision.none, "it was placed");
  return decision.reason;
}

test("a machine gets GPUs that nobody else has until it is gone", () => {
  const snapshot = site({ gpus: [gpu(1), gpu(2)] });
  const decision = decide(snapshot, 1, { gpus: {} });
  assert.ok(!decision.none);
  assert.deepEqual(decision.devices, { gpus: [{ address: "0000:41:00.0", model: "A10" }] });
  assert.match(decision.reasons[0] ?? "", /with GPU 0000:41:00\.0 \(A10\)$/);
  const first = vm(1, { spec: { gpus: {} }, on: 1, devices: decision.devices ?? {} });
  snapshot.update({ type: "upsert", record: first });
  assert.deepEqual(addresses(takes(snapshot, 2, { gpus: {} })), ["0000:42:00.0"]);
  assert.equal(refused(snapshot, { gpus: {} }), "no host fits: 1 lacks a free GPU");
  snapshot.update({ type: "remove", kind: "vm", id: first.id });
  assert.deepEqual(addresses(takes(snapshot, 3, { gpus: {} })), ["0000:41:00.0"]);
});

test("why there is no host says whether GPUs are lacking, kept back, or taken", () => {
  const snapshot = site(
    {},
    { gpus: [gpu(1, { model: "L4", product: "27b8" })] },
    { gpus: [gpu(1, { whole: false, refusal: "the host has no IOMMU in use" })] },
    { gpus: [gpu(1, { bootDisplay: true })] },
    { gpus: [gpu(1)], spec: { passthrough: [{ address: "0000:41:00.0", offered: false }] } },
    { gpus: [gpu(1)] },
    { gpus: [gpu(1)] },
  );
  const wish = { gpus: { models: ["a10"] } };
  takes(snapshot, 1, wish);
  takes(snapshot, 2, wish);
  assert.equal(
    refused(snapshot, wish),
    "no host fits: 3 cannot hand out a GPU of model a10, 2 have no GPU of model a10, 2 lack a free GPU of model a10",
  );
  const why = (n: number) => rank(snapshot.request(vm(9, { spec: wish })), snapshot).find(({ name }) => name === `host-${n}`)?.reasons;
  assert.deepEqual(why(3), ["cannot hand out a GPU of model a10 (0000:41:00.0: the host has no IOMMU in use)"]);
  assert.deepEqual(why(4), ["cannot hand out a GPU of model a10 (0000:41:00.0: it shows the host's own screen)"]);
  assert.deepEqual(why(5), ["cannot hand out a GPU of model a10 (0000:41:00.0: it is kept for the host)"]);
});

test("an operator's word hands out the host's own screen", () => {
  const snapshot = site({ gpus: [gpu(1, { bootDisplay: true })], spec: { passthrough: [{ address: "0000:41:00.0" }] } });
  assert.deepEqual(addresses(takes(snapshot, 1, { gpus: {} })), ["0000:41:00.0"]);
});

test("several GPUs are those of one NUMA cell, the one where the fewest suffice", () => {
  const cells = [0, 0, 0, 1, 1].map((numaCell, n) => gpu(n + 1, { numaCell }));
  const snapshot = site({ gpus: cells });
  assert.deepEqual(addresses(takes(snapshot, 1, { gpus: { count: 2 } })), ["0000:44:00.0", "0000:45:00.0"]);
  assert.equal(refused(snapshot, { gpus: { count: 4 } }), "no host fits: 1 lacks 4 free GPUs (largest free 3)");
});

test("memory is asked of each GPU, and what is not known is not enough", () => {
  const unknown = { address: "0000:42:00.0", vendor: "10de", product: "2236", whole: true };
  const snapshot = site({ gpus: [gpu(1, { memoryBytes: 16 * gib }), unknown, gpu(3)] });
  assert.deepEqual(addresses(takes(snapshot, 1, { gpus: { minimumMemoryBytes: 20 * gib } })), ["0000:43:00.0"]);
  assert.equal(refused(snapshot, { gpus: { minimumMemoryBytes: 20 * gib } }), "no host fits: 1 lacks a free GPU with at least 20 GiB");
});

test("a share is a slice that a driver makes, and others of the GPU are of the same type", () => {
  const snapshot = site({ gpus: [gpu(1), dividedGpu(2)] });
  const first = takes(snapshot, 1, { gpus: { shareMilli: 200 } });
  assert.deepEqual(first.gpus, [
    { address: "0000:42:00.0", model: "A16", slice: { kind: "mdev", type: "vgpu-4", place: "0000:42:00.0", milli: 250 } },
  ]);
  assert.equal(refused(snapshot, { gpus: { shareMilli: 400 } }), "no host fits: 1 lacks a free slice of at least 400/1000 of a GPU");
  assert.equal(refused(snapshot, { gpus: { shareMilli: 600 } }), "no host fits: 1 cannot hand out a slice of at least 600/1000 of a GPU");
  assert.equal(refused(snapshot, { gpus: { models: ["A16"] } }), "no host fits: 1 lacks a free GPU of model A16");
  for (const n of [2, 3, 4]) takes(snapshot, n, { gpus: { shareMilli: 250 } });
  assert.match(refused(snapshot, { gpus: { shareMilli: 1 } }), /1 lacks a free slice/);
});

test("a virtual function goes to one machine, and a GPU that is split into them is not handed out as a whole", () => {
  const places = ["0000:41:00.1", "0000:41:00.2"].map((address) => ({ address, count: 1 }));
  const split = gpu(1, {
    whole: false,
    refusal: "it is split into 2 virtual functions",
    slices: [slices("", 2, { kind: "vf", type: "vf", places })],
  });
  const snapshot = site({ gpus: [split] });
  const placeOf = (devices: PlacedDevices) => devices.gpus?.[0]?.slice?.place;
  assert.equal(placeOf(takes(snapshot, 1, { gpus: { shareMilli: 500 } })), "0000:41:00.1");
  assert.equal(placeOf(takes(snapshot, 2, { gpus: { shareMilli: 500 } })), "0000:41:00.2");
  assert.match(refused(snapshot, { gpus: { shareMilli: 500 } }), /lacks a free slice/);
  assert.equal(refused(snapshot, { gpus: {} }), "no host fits: 1 cannot hand out a GPU");
});

test("other devices are given by label or by what they are, if operators offer them, with all that goes with them", () => {
  const [one, two, three] = [
    networkCard(1, { functions: ["0000:01:00.1"] }),
    networkCard(1, { address: "0000:01:00.1", functions: ["0000:01:00.0"] }),
    networkCard(3),
  ];
  const passthrough = [
    { address: one.address, label: "fast" },
    { address: two.address, label: "fast" },
  ];
  const snapshot = site({ pciDevices: [one, two, three], spec: { passthrough } }, { pciDevices: [one] });
  assert.equal(refused(snapshot, { pciDevices: [{ label: "slow" }] }), "no host fits: 2 offer no PCI device labelled slow");
  const devices = takes(snapshot, 1, { pciDevices: [{ label: "fast", vendor: "8086" }] });
  assert.deepEqual(devices.pciDevices, [{ address: "0000:01:00.0", label: "fast", functions: ["0000:01:00.1"] }]);
  // The second port is in the same IOMMU group: it went with the first.
  assert.equal(
    refused(snapshot, { pciDevices: [{ class: "0200" }] }),
    "no host fits: 1 offers no PCI device of class 0200, 1 lacks free PCI devices for all that it asks for",
  );
});

test("machines of one batch, and those that share a host, get devices of their own", () => {
  const snapshot = site({ gpus: [gpu(1), gpu(2), gpu(3)] });
  const requests = [1, 2, 3, 4].map((n) => snapshot.request(withGpus(n, {})));
  const given = planBatch(requests, snapshot).map(({ decision }) => (decision.none ? "none" : addresses(decision.devices).join()));
  assert.deepEqual(given.toSorted(), ["0000:41:00.0", "0000:42:00.0", "0000:43:00.0", "none"]);
  const other = site({ gpus: [gpu(1), gpu(2)] }, { gpus: [gpu(1)] });
  const together = [1, 2].map((n) => other.request(withGpus(n, {}, { placement: { together: "g" } })));
  const both = planBatch(together, other).map(({ decision }) =>
    decision.none ? decision.reason : `${decision.host} ${addresses(decision.devices).join()}`,
  );
  assert.deepEqual(both, [`${id(1)} 0000:41:00.0`, `${id(1)} 0000:42:00.0`]);
});

test("a machine that moves gets devices of the new host, and its own do not count against it where it is", () => {
  const on = (options: VmOptions) => vm(7, { spec: { gpus: { count: 2 } }, on: 1, ...options });
  const had = { gpus: [{ address: "0000:41:00.0" }, { address: "0000:42:00.0" }] };
  const snapshot = site({ gpus: [gpu(1), gpu(2)] }, { gpus: [gpu(3), gpu(4)] });
  snapshot.update({ type: "upsert", record: on({ devices: had }) });
  const request = snapshot.request(on({ devices: had }), "move");
  const decision = place(request, snapshot);
  assert.deepEqual(decision.none ? [] : addresses(decision.devices), ["0000:43:00.0", "0000:44:00.0"]);
  snapshot.reserve(request, id(2));
  assert.deepEqual(addresses(snapshot.reservedDevices(request.vm)), ["0000:43:00.0", "0000:44:00.0"]);
  assert.match(refused(snapshot, { gpus: {} }), /2 lack a free GPU/);
  snapshot.update({
    type: "upsert",
    record: vm(7, { spec: { gpus: { count: 2 } }, on: 2, epoch: 2, devices: snapshot.reservedDevices(request.vm) }),
  });
  assert.deepEqual(addresses(takes(snapshot, 8, { gpus: { count: 2 } })), ["0000:41:00.0", "0000:42:00.0"]);
  const { leave: _leave, ...stay } = snapshot.request(on({ on: 2, epoch: 2 }), "move");
  assert.deepEqual(
    rank(stay, snapshot).map(({ name, fits }) => [name, fits]),
    [
      ["host-2", true],
      ["host-1", false],
    ],
  );
});

test("a machine without a wish leaves hosts with idle GPUs alone, under the policies that keep room, until there is no other", () => {
  const snapshot = site({ gpus: [gpu(1), gpu(2)], cpus: 8, memoryBytes: 64 * gib }, { cpus: 8, memoryBytes: 8 * gib });
  const small = { memory: { bytes: 2 * gib } };
  const hosts = [1, 2, 3, 4].map((n) => {
    const request = snapshot.request(vm(n, { spec: small }));
    const decision = place(request, snapshot);
    if (decision.none) return "none";
    snapshot.reserve(request, decision.host);
    return decision.host;
  });
  assert.deepEqual(hosts, [id(2), id(2), id(2), id(2)]);
  const last = decide(snapshot, 5, small);
  assert.equal(last.none ? "" : last.host, id(1));
  assert.ok(!last.none && (last.parts["gpus"] ?? 0) < 0);
  // Where its GPUs are taken, its CPU and memory are owed to nobody.
  const full = site({ gpus: [gpu(1)], memoryBytes: 64 * gib }, { memoryBytes: 8 * gib });
  takes(full, 1, { gpus: {}, memory: { bytes: gib } });
  const beside = decide(full, 2, small);
  assert.equal(beside.none ? "" : beside.parts["gpus"], 0);
});
