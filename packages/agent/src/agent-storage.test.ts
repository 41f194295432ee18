/** The whole agent on a simulated host: volumes and images. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { acts, disk, seen, siteHost, volumeSeen } from "./site-host.test-support.ts";
import { sampleId } from "./simulated/sample-documents.ts";
import { SimulatedHost } from "./simulated/simulated-host.ts";
import { gib, ids, image, imageContent, imageHex, network, pool, site, vm, volume } from "./simulated/sample-site.ts";

test("a disk that is still being made is not attached to a running machine", async () => {
  const host = await siteHost();
  const added = sampleId(51);
  const run = host.processes.run.bind(host.processes);
  let make = (): void => {};
  const making = new Promise<void>((resolve) => (make = resolve));
  host.processes.run = async (program, words) => {
    if (words.some((word) => word.includes(added))) await making;
    return run(program, words);
  };
  const disks = [...vm().spec.disks, { ...vm().spec.disks[0], name: "data", volume: added }];
  host.server.put(volume({ sizeBytes: 3 * gib }, { id: added, name: "data" }), vm({ disks }, { generation: 2 }));
  await host.settle();
  assert.deepEqual(acts(host), ["define", "start"]);
  assert.equal(seen(host)?.observedGeneration, 1);
  make();
  await host.settle();
  assert.equal(acts(host)[2], "attach");
  assert.equal(seen(host)?.observedGeneration, 2);
  await host.stop();
});

test("a volume is not deleted under a running machine", async () => {
  const host = await siteHost();
  host.server.put(volume({}, { deletedAt: 5, generation: 2 }));
  await host.clock.advance(60_000);
  assert.ok(host.files.text(disk));
  host.server.put(vm({}, { deletedAt: 6, generation: 2 }));
  await host.clock.advance(60_000);
  assert.equal(host.files.text(disk), null);
  await host.stop();
});

test("a volume that moved away takes its local file along, a shared one's stays", async () => {
  const host = await siteHost();
  host.server.remove("vm", ids.vm, false, { epoch: 2, incarnation: "i1" });
  host.server.remove("volume", ids.volume, false, { epoch: 2, incarnation: "i1" });
  await host.clock.advance(30_000);
  assert.equal(host.files.text(disk), null);
  await host.stop();
});

test("an image is fetched once for all who need it, resumed where it broke off, and checked", async () => {
  const documents = [
    pool(),
    network(),
    image(),
    volume(),
    volume({}, { id: sampleId(51), name: "b" }),
    volume({ source: { image: ids.image, clone: "full" } }, { id: sampleId(52), name: "c" }),
  ];
  const host = new SimulatedHost();
  host.server.images.set(ids.image, imageContent);
  host.server.breakFetchAfter = 10;
  host.server.put(...documents);
  await host.start();
  assert.equal(host.server.fetches, 1);
  await host.clock.advance(10_000);
  assert.equal(host.server.fetches, 2);
  for (const id of [ids.volume, sampleId(51), sampleId(52)]) assert.equal(volumeSeen(host, id)?.state, "ready");
  assert.equal(host.files.text(`/mnt/local/sheaf/images/${imageHex}.qcow2`), imageContent.toString());
  assert.deepEqual(
    host.files.paths("/mnt/local/sheaf/images").filter((path) => path.endsWith(".part")),
    [],
  );
  await host.stop();
});

test("an image that arrives altered is never used", async () => {
  const host = new SimulatedHost();
  host.server.images.set(ids.image, Buffer.from(imageContent.toString().replace("all", "ALL")));
  host.server.put(...site());
  await host.start();
  await host.clock.advance(5000);
  assert.equal(volumeSeen(host)?.state, "failed");
  assert.match(volumeSeen(host)?.problem ?? "", /digest/);
  assert.equal(seen(host)?.state, "failed");
  assert.deepEqual(host.files.paths("/mnt/local/sheaf/images"), []);
  host.server.images.set(ids.image, imageContent);
  await host.clock.advance(60_000);
  assert.equal(seen(host)?.state, "running");
  await host.stop();
});

test("a disk whose file vanished is never made anew", async () => {
  const host = await siteHost([pool(), network(), image(), volume(), vm({ power: "stopped" })]);
  await host.files.remove(disk);
  host.server.put(volume({}, { generation: 2 }));
  await host.settle();
  host.server.put(vm({}, { generation: 2 }));
  await host.clock.advance(120_000);
  assert.equal(host.files.text(disk), null);
  assert.match(volumeSeen(host)?.problem ?? "", /not on this host any more/);
  assert.equal(seen(host)?.state, "failed");
  await host.restart();
  await host.clock.advance(60_000);
  assert.equal(host.files.text(disk), null, "also not after a restart");
  await host.stop();
});

test("a shared disk whose file vanished is not made anew by the next host either", async () => {
  const host = await siteHost([pool(), network(), image(), volume(), vm({ power: "stopped" })]);
  await host.files.remove(disk);
  host.server.put(volume({}, { generation: 2 }));
  await host.settle();
  const told = volumeSeen(host);
  assert.equal(told?.state, "failed");
  await host.stop();
  const next = new SimulatedHost();
  next.server.images.set(ids.image, imageContent);
  next.server.put(...[pool(), network(), image(), volume({}, { generation: 2, status: { agent: told } }), vm()]);
  await next.start();
  await next.clock.advance(60_000);
  assert.equal(next.files.text(disk), null);
  assert.match(volumeSeen(next)?.problem ?? "", /not on this host any more/);
  await next.stop();
});

test("volumes grow: by the hypervisor under a running machine, by qemu-img otherwise; none shrinks", async () => {
  const host = await siteHost();
  host.server.put(volume({ sizeBytes: 2 * gib }, { generation: 2 }));
  await host.settle();
  assert.ok(host.hypervisor.calls.includes(`resize-vda-${2 * gib} ${ids.vm}`));
  assert.equal(volumeSeen(host)?.sizeBytes, 2 * gib);
  host.server.put(volume({}, { id: sampleId(51), name: "loose" }));
  await host.settle();
  host.server.put(volume({ sizeBytes: 3 * gib }, { id: sampleId(51), name: "loose", generation: 2 }));
  await host.settle();
  assert.equal(volumeSeen(host, sampleId(51))?.sizeBytes, 3 * gib);
  host.server.put(volume({}, { id: sampleId(51), name: "loose", generation: 3 }));
  await host.settle();
  assert.match(volumeSeen(host, sampleId(51))?.problem ?? "", /smaller/);
  await host.stop();
});
