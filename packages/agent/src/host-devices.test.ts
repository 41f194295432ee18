/** Machines with devices of their host, on a simulated host: given at the start, taken back at the end, refused where they cannot be given. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AgentDocument } from "@sheaf/contract";
import type { HostObservation, VmObservation } from "@sheaf/model";
import { mdevRoot } from "./mediated-devices.ts";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { plugIn, simulatedGpu, type SimulatedPciDevice } from "./simulated/simulated-pci.ts";
import { ids } from "./simulated/sample-site.ts";

const address = "0000:41:00.0";
const slice = (type: string) => ({ address, slice: { kind: "mdev", type, place: address, milli: 250 } });

function machine(n: number, gpus: readonly object[], spec: object = {}, options: object = {}): AgentDocument {
  const placement = { host: ids.host, epoch: 1, incarnation: "i1", gpus };
  return sampleDocument("vm", { gpus: {}, ...spec }, { id: sampleId(n), name: `vm-${n}`, number: n + 100, placement, ...options });
}

async function hostWith(devices: readonly SimulatedPciDevice[], ...documents: readonly AgentDocument[]): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  plugIn(host.files, devices);
  host.server.put(...documents);
  await host.start();
  return host;
}
const seen = (host: SimulatedHost, n: number) => host.server.part<VmObservation>("vm", sampleId(n), "status/agent");
const inventory = (host: SimulatedHost) => host.server.part<HostObservation>("host", ids.host, "status/agent");
const live = (host: SimulatedHost, n: number) => host.hypervisor.live(sampleId(n))?.hostDevices;
const instances = (host: SimulatedHost): Promise<string[]> => host.files.list(mdevRoot);

test("a GPU and its sound are in the domain, and the host tells what it has", async () => {
  const sound = { address: "0000:41:00.1", class: "040300", iommuGroup: 41 };
  const host = await hostWith([simulatedGpu(1), sound], machine(1, [{ address, functions: [sound.address] }]));
  assert.equal(seen(host, 1)?.state, "running");
  assert.deepEqual(live(host, 1), [
    { kind: "pci", address },
    { kind: "pci", address: sound.address },
  ]);
  assert.deepEqual(
    inventory(host)?.gpus.map(({ model, whole, functions }) => [model, whole, functions]),
    [["A10", true, [sound.address]]],
  );
  // Nothing is new afterwards: the domain is what is wanted.
  await host.clock.advance(600_000);
  assert.deepEqual(seen(host, 1)?.pendingChanges, []);
  await host.stop();
});

test("a slice is made before the machine starts, stays as long as it runs, and goes when it stops or is deleted", async () => {
  const gpu = simulatedGpu(1, { mediatedTypes: { "nvidia-1": 2, "nvidia-2": 4 } });
  const share = { gpus: { shareMilli: 250 } };
  const host = await hostWith([gpu], machine(1, [slice("nvidia-2")], share), machine(2, [slice("nvidia-2")], share));
  assert.deepEqual([seen(host, 1)?.state, seen(host, 2)?.state], ["running", "running"]);
  assert.deepEqual(live(host, 1), [{ kind: "mdev", uuid: sampleId(1) }]);
  assert.deepEqual(await instances(host), [sampleId(1), sampleId(2)]);
  await host.restart();
  assert.deepEqual(await instances(host), [sampleId(1), sampleId(2)], "an agent's restart takes nothing from a machine that runs");
  host.server.put(machine(1, [slice("nvidia-2")], { ...share, power: "stopped" }, { generation: 2 }));
  await host.settle();
  assert.deepEqual(await instances(host), [sampleId(2)]);
  host.server.put(machine(1, [slice("nvidia-2")], share, { generation: 3 }));
  await host.settle();
  assert.deepEqual([seen(host, 1)?.state, await instances(host)], ["running", [sampleId(1), sampleId(2)]]);
  host.server.put(machine(2, [slice("nvidia-2")], share, { generation: 2, deletedAt: 1 }));
  await host.settle();
  assert.deepEqual(await instances(host), [sampleId(1)]);
  await host.stop();
});

test("somebody else's slices are left alone, and a type that the driver refuses is told", async () => {
  const gpu = simulatedGpu(1, { mediatedTypes: { "nvidia-1": 2, "nvidia-2": 4 } });
  const host = new SimulatedHost();
  plugIn(host.files, [gpu]);
  host.files.written.get(`/sys/bus/pci/devices/${address}/mdev_supported_types/nvidia-1/create`)?.("somebody");
  host.server.put(machine(1, [slice("nvidia-2")], { gpus: { shareMilli: 250 } }));
  await host.start();
  assert.notEqual(seen(host, 1)?.state, "running");
  assert.match(seen(host, 1)?.problem ?? "", /the slice nvidia-2 of GPU 0000:41:00\.0 could not be made: ENOSPC/);
  assert.deepEqual(await instances(host), ["somebody"]);
  await host.stop();
});

test("on a host without an IOMMU the machine is refused, with what would help; it starts when that is done", async () => {
  const { iommuGroup: _group, ...without } = simulatedGpu(1);
  const host = await hostWith([without], machine(1, [{ address }]));
  assert.notEqual(seen(host, 1)?.state, "running");
  assert.match(
    seen(host, 1)?.problem ?? "",
    /0000:41:00\.0 of this host cannot be handed out: the host has no IOMMU in use: switch on VT-d or AMD-Vi/,
  );
  assert.equal(live(host, 1), undefined);
  plugIn(host.files, [simulatedGpu(1)]);
  await host.clock.advance(200_000);
  assert.equal(seen(host, 1)?.state, "running");
  await host.stop();
});

test("it never starts without what it wishes for: a placement that names nothing, a device that is gone", async () => {
  const host = await hostWith([simulatedGpu(1)], machine(1, []), machine(2, [{ address: "0000:49:00.0" }]));
  assert.match(seen(host, 1)?.problem ?? "", /its placement does not name the devices that it wishes for/);
  assert.match(seen(host, 2)?.problem ?? "", /this host has no device 0000:49:00\.0 any more/);
  assert.deepEqual([live(host, 1), live(host, 2)], [undefined, undefined]);
  await host.stop();
});
