import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { partKey } from "@sheaf/model";
import { World } from "./library-world.test-support.ts";

let world: World;
beforeEach(async () => {
  world = await World.open({ downloadTries: 3 });
});
afterEach(() => world.close());

const boot = (bytes: number): Buffer => {
  const disk = randomBytes(bytes);
  disk.writeUInt16BE(0x55aa, 510);
  return disk;
};

async function bytesOf(body: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body ?? []) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe("uploads", () => {
  const disk = boot(2 ** 20);
  const totalBytes = disk.length;

  it("go on where they stopped, also after a restart, and only there", async () => {
    const id = await world.add();
    assert.equal(await world.library.offset(id), 0);
    assert.equal(await world.upload(id, disk.subarray(0, 300_000), { offset: 0, totalBytes }), 300_000);
    await world.until("receiving", () => world.status(id)?.state === "receiving");
    await world.restart();
    assert.equal(await world.library.offset(id), 300_000);
    await assert.rejects(world.upload(id, disk.subarray(400_000), { offset: 400_000, totalBytes }), { code: "conflict" });
    assert.equal(await world.upload(id, disk.subarray(300_000), { offset: 300_000, totalBytes }), totalBytes);
    const { state, virtualSizeBytes, receivedBytes } = await world.ended(id);
    assert.deepEqual([state, virtualSizeBytes, receivedBytes], ["ready", totalBytes, totalBytes]);
    await assert.rejects(world.upload(id, disk), { code: "state-refused" });
  });

  it("keep what came before a cut, and take one stream at a time", async () => {
    const id = await world.add();
    const stream = new PassThrough();
    const first = world.library.receive(id, stream, { offset: 0 });
    stream.write(disk.subarray(0, 100_000));
    await world.until("bytes on the disk", async () => (await world.library.offset(id)) === 100_000);
    await assert.rejects(world.upload(id, disk.subarray(100_000), { offset: 100_000 }), { code: "conflict" });
    stream.destroy(new Error("aborted"));
    await assert.rejects(first, /aborted/);
    assert.equal(await world.library.offset(id), 100_000);
    await world.upload(id, disk.subarray(100_000), { offset: 100_000 });
    assert.equal((await world.ended(id)).state, "ready");
  });

  it("are refused where they are too large, or longer than said", async () => {
    const id = await world.add();
    await assert.rejects(world.upload(id, disk, { offset: 0, totalBytes: 2 ** 40 }), { code: "too-large" });
    await assert.rejects(world.upload(id, disk, { offset: 0, totalBytes: 1000 }), { code: "invalid-input" });
    assert.equal(await world.library.offset(id), 0);
    await assert.rejects(world.upload("0192f0c1-2345-7abc-8def-0123456789ab", disk), { code: "not-found" });
  });

  it("may be repeated after a failure", async () => {
    const id = await world.add({ checksum: `sha256:${createHash("sha256").update(disk).digest("hex")}` });
    await world.upload(id, disk.subarray(0, 512_000));
    assert.equal((await world.ended(id)).state, "failed");
    await world.upload(id, disk);
    await world.until("ready", () => world.status(id)?.state === "ready");
  });

  it("that came whole are checked after a restart in the middle", async () => {
    const id = await world.add();
    let open = (): void => {};
    world.programs.gate = new Promise((resolve) => (open = resolve));
    await world.upload(id, disk);
    await world.until("qemu-img", () => world.programs.runs.length > 0);
    assert.equal(world.status(id)?.state, "checking");
    await world.restart(async () => {
      assert.deepEqual(await world.kept(id), ["fetched"]);
      await writeFile(`${world.directory}/${id}.prepared`, "half of it");
      world.programs.gate = undefined;
      open();
    });
    assert.equal((await world.ended(id)).state, "ready");
    assert.deepEqual(await world.kept(id), ["facts.json", "qcow2"]);
  });

  it("that were prepared before the record said so are ready without being uploaded again", async () => {
    const id = await world.add();
    await world.upload(id, disk);
    const { digest } = await world.ended(id);
    await world.restart(async () => {
      const { revision } = await world.store.transact({ compare: [], then: [{ delete: partKey("image", id, "status/library") }] });
      await world.cache.waitFor(revision);
      world.programs.runs.length = 0;
    });
    assert.equal((await world.ended(id)).digest, digest);
    assert.deepEqual(world.programs.runs, []);
  });

  it("whose file is lost are failed and say so", async () => {
    const id = await world.add();
    await world.upload(id, disk);
    await world.ended(id);
    await world.restart(() => writeFile(`${world.directory}/${id}.qcow2`, "cut"));
    await world.until("failed", () => world.status(id)?.state === "failed");
    assert.match(world.status(id)?.problem ?? "", /Upload it again/);
  });
});

describe("images from an address", () => {
  const disk = boot(3 * 2 ** 20);
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const requests: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    requests.push(request.headers.range);
    answer(request, response);
  });
  let url = "";
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.raw`; // it listens at a port
  });
  beforeEach(() => void requests.splice(0));
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  /** Answers from the range on; a changed tag gets the whole file. @param cutAfter bytes after which the connection is cut */
  const serve = (request: IncomingMessage, response: ServerResponse, tag: string, cutAfter?: number): void => {
    const same = request.headers["if-range"] === tag;
    const from = same ? Number(/\d+/.exec(request.headers.range ?? "0")?.[0]) : 0;
    response.writeHead(same ? 206 : 200, { etag: tag, "content-length": disk.length - from });
    if (cutAfter === undefined) response.end(disk.subarray(from));
    else response.write(disk.subarray(from, from + cutAfter), () => setImmediate(() => response.destroy()));
  };

  it("come in one go", async () => {
    answer = (request, response) => serve(request, response, '"1"');
    const id = await world.add({ source: { url }, checksum: `sha256:${createHash("sha256").update(disk).digest("hex")}` });
    const status = await world.ended(id);
    assert.deepEqual([status.state, status.virtualSizeBytes, status.receivedBytes], ["ready", disk.length, disk.length]);
    assert.deepEqual(await world.kept(id), ["facts.json", "qcow2"]);
  });

  it("go on after cuts, without mixing two versions", async () => {
    // Cut in version 1, version 1 goes on and is cut again, then it has become version 2: all of it anew.
    answer = (request, response) => {
      const turn = requests.length;
      serve(request, response, turn < 3 ? '"1"' : '"2"', turn < 3 ? 2 ** 20 : undefined);
    };
    const id = await world.add({ source: { url }, checksum: `sha256:${createHash("sha256").update(disk).digest("hex")}` });
    assert.equal((await world.ended(id)).problem, undefined);
    assert.equal(requests.length, 3);
    assert.equal(requests[0], undefined);
    for (const range of requests.slice(1)) assert.match(range ?? "", /^bytes=[1-9]\d+-$/);
  });

  it("go on after a restart of the server", async () => {
    answer = (_request, response) => {
      response.writeHead(200, { etag: '"1"', "content-length": disk.length });
      response.write(disk.subarray(0, 2 ** 20)); // and then silence
    };
    const id = await world.add({ source: { url } });
    await world.until("a part", async () => (await world.library.offset(id)) === 2 ** 20);
    await world.restart(async () => {
      answer = (request, response) => serve(request, response, '"1"');
    });
    assert.equal((await world.ended(id)).state, "ready");
    assert.deepEqual(requests, [undefined, `bytes=${2 ** 20}-`]);
  });

  it("fail at once where nothing is there, and after some tries where nobody answers", async () => {
    answer = (_request, response) => void response.writeHead(404).end();
    const missing = await world.add({ source: { url } });
    assert.match((await world.ended(missing)).problem ?? "", /no such file/);
    assert.equal(requests.length, 1);
    answer = (_request, response) => void response.destroy();
    const cut = await world.add({ source: { url } });
    assert.match((await world.ended(cut)).problem ?? "", /after 3 tries/);
    assert.equal(requests.length, 4);
    assert.deepEqual(await world.kept(cut), []);
  });

  it("fail before a byte is fetched where there is no room, or the file is too large", async () => {
    answer = (request, response) => serve(request, response, '"1"');
    world.files.freeBytes = 2 * disk.length;
    const id = await world.add({ source: { url } });
    const status = await world.ended(id);
    assert.deepEqual([status.state, status["code"]], ["failed", "store-full"]);
    world.files.freeBytes = undefined;
    answer = (_request, response) => void response.writeHead(200, { "content-length": 2 ** 40 }).write("x");
    const large = await world.add({ source: { url } });
    assert.equal((await world.ended(large))["code"], "too-large");
    assert.deepEqual(await world.kept(large), []);
  });

  it("come again when a restored record's file is missing", async () => {
    answer = (request, response) => serve(request, response, '"1"');
    const id = await world.add({ source: { url } });
    const { digest } = await world.ended(id);
    await world.restart(() => world.files.remove(`${world.directory}/${id}.qcow2`));
    await world.until("the file", async () => (await world.kept(id)).includes("qcow2"));
    await world.until("ready", () => world.status(id)?.state === "ready");
    assert.equal(world.status(id)?.digest, digest);
  });
});

describe("deletion", () => {
  const finalizers = (id: string): readonly string[] | undefined => world.cache.get("image", id)?.finalizers;

  it("removes the files, then lets the record go", async () => {
    const id = await world.add();
    await world.upload(id, boot(2 ** 20));
    await world.ended(id);
    await world.askDeletion(id);
    await world.until("the release", () => finalizers(id)?.length === 0);
    assert.deepEqual(await world.kept(id), []);
  });

  it("ends an upload and a check under way", async () => {
    const uploading = await world.add();
    const stream = new PassThrough();
    const receiving = world.library.receive(uploading, stream, { offset: 0 });
    const refused = assert.rejects(receiving, { code: "unavailable" });
    stream.write(boot(1000));
    await world.until("a part", async () => (await world.library.offset(uploading)) === 1000);
    await world.askDeletion(uploading);
    await refused;
    await world.until("the release", () => finalizers(uploading)?.length === 0);
    assert.deepEqual(await world.kept(uploading), []);

    world.programs.gate = new Promise(() => {});
    const checking = await world.add();
    await world.upload(checking, boot(2 ** 20));
    await world.until("qemu-img", () => world.programs.runs.length > 0);
    await world.askDeletion(checking);
    await world.until("the release", () => finalizers(checking)?.length === 0);
    assert.deepEqual(await world.kept(checking), []);
    assert.notEqual(world.status(checking)?.state, "failed");
  });

  it("throws away at the start what work left behind, not the images of records that a restored store does not know", async () => {
    const gone = "0192f0c1-2345-7abc-8def-0123456789ab";
    await world.restart(async () => {
      for (const ending of ["part", "fetched", "unpacked", "prepared", "qcow2", "facts.json"])
        await writeFile(`${world.directory}/${gone}.${ending}`, "x");
    });
    await world.until("the cleaning", async () => (await world.kept(gone)).length === 2);
    assert.deepEqual(await world.kept(gone), ["facts.json", "qcow2"]);
  });
});

describe("what hosts fetch", () => {
  it("is served whole and in ranges", async () => {
    const id = await world.add();
    assert.equal((await world.library.serve(id, { method: "GET" })).status, 404);
    await world.upload(id, boot(2 ** 20));
    const { digest } = await world.ended(id);
    const file = await readFile(`${world.directory}/${id}.qcow2`);
    const size = file.length;

    const whole = await world.library.serve(id, { method: "GET" });
    assert.deepEqual([whole.status, whole.headers["etag"], whole.headers["content-length"]], [200, `"${digest}"`, String(size)]);
    assert.deepEqual(await bytesOf(whole.body), file);
    const head = await world.library.serve(id, { method: "HEAD", range: "bytes=0-9" });
    assert.deepEqual([head.status, head.headers["content-length"], head.body], [206, "10", undefined]);
    for (const [range, start, end] of [
      ["bytes=100-199", 100, 199],
      [`bytes=${size - 5}-`, size - 5, size - 1],
      ["bytes=-7", size - 7, size - 1],
      [`bytes=5-${size * 2}`, 5, size - 1],
    ] as const) {
      const part = await world.library.serve(id, { method: "GET", range });
      assert.deepEqual([part.status, part.headers["content-range"]], [206, `bytes ${start}-${end}/${size}`], range);
      assert.deepEqual(await bytesOf(part.body), file.subarray(start, end + 1), range);
    }
    const beyond = await world.library.serve(id, { method: "GET", range: `bytes=${size}-` });
    assert.deepEqual([beyond.status, beyond.headers["content-range"]], [416, `bytes */${size}`]);
    for (const range of ["bytes=1-2,4-5", "lines=1-2", "bytes=9-3", "bytes=-"]) {
      const { status, body } = await world.library.serve(id, { method: "GET", range });
      assert.equal(status, 200, range);
      await bytesOf(body);
    }
  });
});

describe("many at once", () => {
  it("checks two at a time, the others wait", async () => {
    let open = (): void => {};
    world.programs.gate = new Promise((resolve) => (open = resolve));
    const disk = boot(2 ** 20);
    const ids = await Promise.all([world.add(), world.add(), world.add()]);
    await Promise.all(ids.map((id) => world.upload(id, disk)));
    await world.until("two programs", () => world.programs.runs.length === 2);
    await world.until("two checked", () => ids.filter((id) => world.status(id)?.state === "checking").length === 2);
    assert.equal(world.programs.runs.length, 2);
    world.programs.gate = undefined;
    open();
    for (const id of ids) assert.equal((await world.ended(id)).state, "ready");
  });
});
