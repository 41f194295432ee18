/** Images in a host's pools: kept while anything is based on them, and no more of the others than the pool gives room for. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { AgentDocument } from "@sheaf/contract";
import { sampleDocument, sampleId } from "./simulated/sample-documents.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { ids, image, imageContent, imageHex, network, pool, vm, volume } from "./simulated/sample-site.ts";

const images = "/mnt/local/sheaf/images";
/** 1000 bytes each. */
const contentOf = (number: number): Buffer => Buffer.from(`image ${number} `.padEnd(1000, "."));
const hexOf = (number: number): string => createHash("sha256").update(contentOf(number)).digest("hex");
const imageIdOf = (number: number): string => sampleId(400 + number);
const volumeIdOf = (number: number): string => sampleId(500 + number);

function imageOf(number: number, options: { readonly id?: string } = {}): AgentDocument {
  const library = { ...image().status.library, state: "ready", receivedBytes: 1000, format: "qcow2", fileBytes: 1000, at: 1 } as const;
  return sampleDocument(
    "image",
    { source: { upload: true } },
    { id: options.id ?? imageIdOf(number), name: `image-${number}`, status: { library: { ...library, digest: `sha256:${hexOf(number)}` } } },
  );
}
const volumeOf = (number: number, more: object = {}, imageId = imageIdOf(number)): AgentDocument =>
  volume({ source: { image: imageId } }, { id: volumeIdOf(number), name: `disk-${number}`, ...more });

async function hostWith(...documents: AgentDocument[]): Promise<SimulatedHost> {
  const host = new SimulatedHost();
  for (let number = 0; number < 10; number += 1) host.server.images.set(imageIdOf(number), contentOf(number));
  host.server.put(...documents);
  await host.start();
  return host;
}

async function withDisk(host: SimulatedHost, number: number): Promise<void> {
  host.server.put(imageOf(number), volumeOf(number));
  await host.clock.advance(2000);
  assert.equal(host.server.part<{ state: string }>("volume", volumeIdOf(number))?.state, "ready");
}
async function withoutDisk(host: SimulatedHost, number: number): Promise<void> {
  host.server.put(volumeOf(number, { deletedAt: 1, generation: 2 }));
  await host.clock.advance(1000);
  host.server.remove("volume", volumeIdOf(number), true);
  await host.clock.advance(1000);
}
const kept = (host: SimulatedHost): number[] =>
  host.files
    .paths(images)
    .flatMap((path) => [0, 1, 2, 3, 4, 5].filter((number) => path === `${images}/${hexOf(number)}.qcow2`))
    .sort();

test("the images that were not used for longest make room, those in use never", async () => {
  // A fifth of 15,000 bytes: three images.
  const host = await hostWith(pool());
  host.files.capacityBytes = 15_000;
  for (const number of [0, 1, 2]) await withDisk(host, number);
  for (const number of [1, 0]) await withoutDisk(host, number);
  assert.deepEqual(kept(host), [0, 1, 2]);
  await withDisk(host, 3);
  assert.deepEqual(kept(host), [1, 2, 3], "the one that was asked for first goes first");
  await withDisk(host, 4);
  assert.deepEqual(kept(host), [2, 3, 4]);
  await withDisk(host, 5);
  assert.deepEqual(kept(host), [2, 3, 4, 5], "all others are in use: the limit is passed rather than a disk broken");
  const part = host.server.part<unknown>("image", imageIdOf(1), `status/hosts/${ids.host}`);
  assert.ok(part === undefined || part === null, "and it is told that it is not here any more");
  await host.stop();
});

test("where the file system has no room for a new image, unused ones go", async () => {
  const host = await hostWith(pool());
  for (const number of [0, 1]) await withDisk(host, number);
  await withoutDisk(host, 0);
  host.files.availableBytes = 64 * 2 ** 20;
  host.files.freesSpace = true;
  await withDisk(host, 2);
  assert.deepEqual(kept(host), [1, 2]);
  await host.stop();
});

test("an image that two records name goes when the last disk based on it has gone", async () => {
  const twin = sampleId(490);
  const host = await hostWith(pool(), network(), imageOf(0), imageOf(0, { id: twin }), volumeOf(0), volumeOf(1, {}, twin));
  host.server.images.set(twin, contentOf(0));
  await host.clock.advance(60_000);
  assert.deepEqual(kept(host), [0]);
  await withoutDisk(host, 1);
  host.server.remove("image", twin, true);
  await host.clock.advance(2000);
  assert.deepEqual(kept(host), [0], "the other's disk lives on it");
  await withoutDisk(host, 0);
  host.server.remove("image", imageIdOf(0), true);
  await host.clock.advance(2000);
  assert.deepEqual(kept(host), []);
  await host.stop();
});

test("an image that another host's disk in a shared pool is based on stays", async () => {
  const shared = sampleDocument("pool", { type: "shared", path: "/mnt/shared/sheaf" }, { id: ids.shared, name: "shared" });
  const host = await hostWith();
  host.files.put(
    "/mnt/shared/sheaf/volumes/other.qcow2",
    JSON.stringify({ format: "qcow2", sizeBytes: 1, backing: `/mnt/shared/sheaf/images/${hexOf(0)}.qcow2`, data: "" }),
  );
  host.server.put(shared, imageOf(0), volumeOf(0, {}, imageIdOf(0)));
  host.server.put(volume({ pool: ids.shared, source: { image: imageIdOf(0) } }, { id: volumeIdOf(0), name: "disk-0" }));
  await host.clock.advance(5000);
  await withoutDiskIn(host, ids.shared, 0);
  host.server.remove("image", imageIdOf(0), true);
  await host.clock.advance(2000);
  assert.deepEqual(host.files.paths("/mnt/shared/sheaf/images"), [`/mnt/shared/sheaf/images/${hexOf(0)}.qcow2`]);
  await host.stop();
});
async function withoutDiskIn(host: SimulatedHost, poolId: string, number: number): Promise<void> {
  host.server.put(
    volume({ pool: poolId, source: { image: imageIdOf(number) } }, { id: volumeIdOf(number), name: `disk-${number}`, deletedAt: 1, generation: 2 }),
  );
  await host.clock.advance(1000);
  host.server.remove("volume", volumeIdOf(number), true);
  await host.clock.advance(1000);
}

test("a pool that hangs holds up neither another pool's images nor its own looks", async () => {
  const shared = sampleDocument("pool", { type: "shared", path: "/mnt/shared/sheaf", imageCacheRatio: 0 }, { id: ids.shared, name: "shared" });
  const host = await hostWith(pool(), shared);
  host.files.put(`/mnt/shared/sheaf/images/${hexOf(5)}.qcow2`, contentOf(5));
  host.files.put("/mnt/shared/sheaf/volumes/other.qcow2", "{}");
  host.processes.hung.add("qemu-img info");
  await host.clock.advance(130_000);
  host.processes.hung.clear();
  assert.equal(host.server.part<{ state: string }>("pool", ids.shared, `status/hosts/${ids.host}`)?.state, "ready");
  await withDisk(host, 0);
  await host.stop();
});

test("a CD that a machine has in its drive stays", async () => {
  const iso = sampleDocument(
    "image",
    { source: { upload: true }, type: "iso" },
    {
      id: ids.image,
      name: "cd",
      status: {
        library: {
          ...image().status.library,
          state: "ready",
          receivedBytes: 1,
          format: "iso",
          fileBytes: imageContent.length,
          digest: `sha256:${imageHex}`,
          at: 1,
        },
      },
    },
  );
  const machine = vm({ disks: [], cdroms: [{ name: "cd", image: ids.image }] });
  const host = await hostWith();
  host.server.images.set(ids.image, imageContent);
  host.files.capacityBytes = 100;
  host.server.put(pool(), network(), iso, machine);
  await host.clock.advance(130_000);
  assert.deepEqual(host.files.paths(images), [`${images}/${imageHex}.iso`]);
  host.server.put(vm({ disks: [], cdroms: [{ name: "cd", image: null }] }, { generation: 2 }));
  await host.clock.advance(130_000);
  assert.deepEqual(host.files.paths(images), []);
  await host.stop();
});
