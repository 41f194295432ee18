/** GPUs through the API: wished for, told with who has them, counted in the pool; bad wishes change nothing. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApiFixture } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
let host: { id: string };
const gpu = (n: number) => ({ address: `0000:4${n}:00.0`, vendor: "10de", product: "2236", model: "A10", memoryBytes: 24 * 2 ** 30, whole: true });
const slices = { kind: "mdev" as const, type: "nvidia-63", milli: 250, places: [{ address: gpu(2).address, count: 4 }] };

before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
  const card = { address: "0000:05:00.0", vendor: "8086", product: "1572", class: "020000", whole: true };
  host = await fixture.host("h1", {
    gpus: [gpu(1), { ...gpu(2), slices: [slices] }, { ...gpu(3), whole: false, refusal: "no IOMMU" }],
    pciDevices: [card],
  });
  assert.equal((await fixture.request("PATCH", "/hosts/h1", { spec: { passthrough: [{ address: card.address, label: "fast" }] } })).status, 200);
});
after(() => fixture.stop());

async function placed(name: string, spec: object, devices: object): Promise<string> {
  const { id } = await fixture.make("/vms", { name, spec: { nics: [], ...spec } });
  await fixture.part("vm", id, "placement", {
    host: host.id,
    epoch: 1,
    incarnation: fixture.context.store.incarnation,
    at: 1,
    reason: "why",
    ...devices,
  });
  return id;
}

test("a host tells its devices with who has them, the pool counts them, an explanation names them", async () => {
  await placed("whole", { gpus: {} }, { gpus: [{ address: gpu(1).address, model: "A10" }] });
  const slice = { kind: "mdev", type: slices.type, place: gpu(2).address, milli: 250 };
  const share = await placed("share", { gpus: { shareMilli: 200 } }, { gpus: [{ address: gpu(2).address, model: "A10", slice }] });
  await placed("net", { pciDevices: [{ label: "fast" }] }, { pciDevices: [{ address: "0000:05:00.0", label: "fast" }] });
  const { body } = await fixture.get("/hosts/h1/devices");
  assert.deepEqual(
    body.gpus.map((one: { idleMilli: number; refusal?: string; holders: { name: string; milli?: number }[] }) => [
      one.idleMilli,
      one.refusal,
      one.holders.map(({ name, milli }) => [name, milli]),
    ]),
    [
      [0, undefined, [["whole", undefined]]],
      [750, undefined, [["share", 250]]],
      [0, "no IOMMU", []],
    ],
  );
  assert.deepEqual(
    body.pciDevices.map(({ label, holders }: { label: string; holders: { name: string }[] }) => [label, holders[0]?.name]),
    [["fast", "net"]],
  );
  fixture.clock.advance(2000);
  const capacity = (await fixture.get("/capacity")).body;
  assert.deepEqual([capacity.gpus, capacity.gpuMilli], [3, { offered: 2000, allocated: 1250, free: 750 }]);
  assert.equal((await fixture.get(`/vms/${share}/explanation`)).body.devices, "250/1000 of 0000:42:00.0 (A10, nvidia-63)");
});

test("what was chosen with the host is not changed afterwards, and a machine that has it is not moved while it runs", async () => {
  const id = await placed("fixed", { gpus: {} }, { gpus: [{ address: "0000:49:00.0" }] });
  const changed = await fixture.request("PATCH", `/vms/${id}`, { spec: { gpus: { count: 2 } } });
  assert.deepEqual([changed.status, changed.body.code], [409, "state-refused"]);
  assert.match(changed.body.detail, /chosen when it got its host/);
  await fixture.part("vm", id, "status/agent", {
    ...{
      state: "running",
      epoch: 1,
      host: host.id,
      bootId: "b",
      observedGeneration: 1,
      since: 1,
      startRequestSeen: 0,
      restarts: 0,
      pendingChanges: [],
    },
  });
  fixture.connected.add(host.id);
  const moved = await fixture.request("POST", `/vms/${id}/migrate`, {});
  assert.equal(moved.body.code, "state-refused", moved.text);
});

for (const [what, spec] of [
  ["a share of two GPUs", { gpus: { count: 2, shareMilli: 500 } }],
  ["a share of all of one", { gpus: { shareMilli: 1000 } }],
  ["no GPU", { gpus: { count: 0 } }],
  ["a model of strange characters", { gpus: { models: ["<A10>"] } }],
  ["a device that is named by nothing", { pciDevices: [{}] }],
  ["a product without its vendor", { pciDevices: [{ product: "1572" }] }],
  ["a vendor in capital letters", { pciDevices: [{ vendor: "10DE" }] }],
  ["too many devices", { pciDevices: [{ label: "a", count: 16 }, { label: "b" }] }],
] as const)
  test(`refused before anything changes: ${what}`, async () => {
    const before = await fixture.contents();
    const { body } = await fixture.request("POST", "/vms", { name: "bad", spec: { nics: [], ...spec } });
    assert.equal(body.code, "invalid-input");
    assert.deepEqual(await fixture.contents(), before);
  });
