/** What is read of a host's PCI devices, and what of it is offered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readPciDevices } from "./pci-devices.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";
import { plugIn, simulatedGpu, type SimulatedPciDevice } from "./simulated/simulated-pci.ts";

const machine = "01890a5d-ac96-774b-bcce-b302099a8057";
async function read(devices: readonly SimulatedPciDevice[], ours: readonly string[] = [], change: (files: SimulatedFiles) => void = () => {}) {
  const files = new SimulatedFiles();
  plugIn(files, devices);
  change(files);
  return readPciDevices(files, new Set(ours));
}

test("a GPU is told by its name, with its sound, which goes along", async () => {
  const sound = { address: "0000:41:00.1", class: "040300", iommuGroup: 41 };
  const bridge = { address: "0000:40:01.0", class: "060400", iommuGroup: 41 };
  const { gpus, pciDevices } = await read([simulatedGpu(1), sound, bridge]);
  assert.deepEqual(gpus, [
    { address: "0000:41:00.0", vendor: "10de", product: "2236", iommuGroup: 41, numaCell: 0, whole: true, functions: ["0000:41:00.1"], model: "A10" },
  ]);
  assert.equal(pciDevices.find(({ address }) => address === bridge.address)?.refusal, "it is a bridge");
});

test("memory is what the driver says, else what the card is called by", async () => {
  const { gpus } = await read([simulatedGpu(1), simulatedGpu(2, { product: "20f1" })], [], (files) => {
    files.put("/usr/share/misc/pci.ids", "10de  NVIDIA Corporation\n\t20f1  GA100 [A100 PCIe 40GB]\n\t2236  GA102GL [A10]\n");
    files.put("/sys/bus/pci/devices/0000:41:00.0/mem_info_vram_total", "25769803776\n");
  });
  assert.deepEqual(
    gpus.map(({ model, memoryBytes }) => [model, memoryBytes]),
    [
      ["A10", 24 * 2 ** 30],
      ["A100 PCIe 40GB", 40 * 2 ** 30],
    ],
  );
});

test("what cannot be handed out says why, and what would help", async () => {
  const { iommuGroup: _group, ...without } = simulatedGpu(1);
  const shared = { address: "0000:05:00.0", class: "020000", iommuGroup: 42 };
  const { gpus } = await read([without, simulatedGpu(2), shared, simulatedGpu(3, { virtualFunctions: 2 })]);
  assert.deepEqual(
    gpus.map(({ whole, refusal }) => [whole, refusal?.slice(0, 40)]),
    [
      [false, "the host has no IOMMU in use: switch on "],
      [false, "its IOMMU group 42 holds 0000:05:00.0 to"],
      [false, "it is split into 2 virtual functions"],
    ],
  );
});

test("virtual functions are slices of their GPU, and no GPUs", async () => {
  const functions = [1, 2].map((n) => ({ ...simulatedGpu(1, { iommuGroup: 60 + n, physicalFunction: "0000:41:00.0" }), address: `0000:41:00.${n}` }));
  const { gpus, pciDevices } = await read([simulatedGpu(1, { virtualFunctions: 2 }), ...functions]);
  assert.deepEqual(
    gpus.map(({ slices }) => slices),
    [[{ kind: "vf", type: "vf", milli: 500, places: functions.map(({ address }) => ({ address, count: 1 })) }]],
  );
  assert.equal(pciDevices.find(({ address }) => address === "0000:41:00.1")?.physicalFunction, "0000:41:00.0");
});

test("mediated types are slices; those that Sheaf's machines have stay counted, those of others do not", async () => {
  const gpu = simulatedGpu(1, { mediatedTypes: { "nvidia-1": 2, "nvidia-2": 4 } });
  const counts = ({ gpus }: Awaited<ReturnType<typeof read>>) =>
    gpus.flatMap(({ slices = [] }) =>
      slices.map(({ type, milli, memoryBytes, places }) => [type, milli, (memoryBytes ?? 0) / 2 ** 30, places[0]?.count]),
    );
  assert.deepEqual(counts(await read([gpu])), [
    ["nvidia-1", 500, 12, 2],
    ["nvidia-2", 250, 6, 4],
  ]);
  const create = (files: SimulatedFiles): void =>
    files.written.get("/sys/bus/pci/devices/0000:41:00.0/mdev_supported_types/nvidia-2/create")?.(machine);
  assert.deepEqual(counts(await read([gpu], [machine], create)), [
    ["nvidia-1", 500, 12, 2],
    ["nvidia-2", 250, 6, 4],
  ]);
  const others = await read([gpu], [], create);
  assert.deepEqual(counts(others), [["nvidia-2", 250, 6, 3]]);
  assert.match(others.gpus[0]?.refusal ?? "", /a mediated device that Sheaf did not make is on it/);
  assert.equal(others.gpus[0]?.whole, false);
});
