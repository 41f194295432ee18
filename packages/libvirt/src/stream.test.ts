import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { connect, type LibvirtClient } from "./connect.ts";
import { isLibvirtError, LibvirtConnectionError, LibvirtTimeoutError } from "./errors.ts";
import { FakeLibvirtError, FakeServer, type FakeStream } from "./fake-server.ts";
import { ManualTimers, settled } from "./manual-timers.ts";
import type { StreamPiece } from "./stream.ts";

const volume = { pool: "default", name: "disk.qcow2", key: "/var/lib/libvirt/images/disk.qcow2" };
const vm = { name: "web-01", uuid: "c10e0000-0000-4000-8000-000000000001", id: 3 };

let open: LibvirtClient[] = [];
afterEach(() => {
  for (const client of open) client.close();
  open = [];
});

async function start(server: FakeServer) {
  const timers = new ManualTimers();
  const client = await connect({ transport: server.transport, timers });
  open.push(client);
  return { client, timers };
}

async function collect(pieces: AsyncIterable<StreamPiece>): Promise<(string | number)[]> {
  const seen: (string | number)[] = [];
  for await (const piece of pieces) seen.push(piece.kind === "data" ? Buffer.from(piece.data).toString() : piece.lengthBytes);
  return seen;
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof Error, "it did not fail");
  return outcome;
}

test("an upload arrives whole and in order, is confirmed, and its connection goes", async () => {
  let received: Promise<(string | number)[]> | undefined;
  const server = new FakeServer({
    handlers: {
      storageVolUpload: (args, { stream }) => {
        assert.deepEqual(args, { volume, offset: 0, length: 6, flags: 0 });
        received = collect(stream.received);
        return {};
      },
    },
  });
  const { client } = await start(server);
  await client.volumes.upload(volume, [Buffer.from("abc"), Buffer.from("def")], { length: 6 });
  assert.deepEqual(await received, ["abc", "def"]);
  await settled();
  assert.equal(server.openConnections, 1);
});

test("large chunks are cut to what a daemon takes, holes go as their length", async () => {
  const sizes: number[] = [];
  let stream: FakeStream | undefined;
  const server = new FakeServer({
    handlers: {
      storageVolUpload: (_args, call) => {
        stream = call.stream;
        return {};
      },
    },
  });
  const { client } = await start(server);
  const opened = await client.openStream("storageVolUpload", { volume, offset: 0, length: 0, flags: 1 });
  await opened.stream.write(new Uint8Array(600_000));
  await opened.stream.writeHole(2 ** 41);
  await opened.stream.finish();
  assert.ok(stream);
  for await (const piece of stream.received) sizes.push(piece.kind === "data" ? piece.data.byteLength : -piece.lengthBytes);
  assert.deepEqual(sizes, [262_120, 262_120, 75_760, -(2 ** 41)]);
  assert.ok((await failure(opened.stream.write(new Uint8Array(1)))) instanceof LibvirtConnectionError);
});

test("data that overtakes the reply is kept, and so is an error", async () => {
  const server = new FakeServer({
    handlers: {
      storageVolDownload: ({ offset }, { stream }) => {
        stream.overtakeReply();
        stream.send(Buffer.from("0123456789"));
        if (offset === 0) stream.sendEnd();
        else stream.fail(new FakeLibvirtError("operationFailed", "the disk is broken"));
        return {};
      },
    },
  });
  const { client } = await start(server);
  assert.deepEqual(await collect(await client.volumes.download(volume)), ["0123456789"]);
  const broken = await client.volumes.download(volume, { offset: 1 });
  assert.equal((await broken.read())?.kind, "data");
  assert.match((await failure(broken.read())).message, /the disk is broken/);
  await settled();
  assert.equal(server.openConnections, 1);
});

test("a source that fails breaks the upload off", async () => {
  let stream: FakeStream | undefined;
  const server = new FakeServer({
    handlers: {
      storageVolUpload: (_args, call) => {
        stream = call.stream;
        return {};
      },
    },
  });
  const { client } = await start(server);
  async function* source() {
    yield Buffer.from("abc");
    throw new Error("the file is gone");
  }
  assert.match((await failure(client.volumes.upload(volume, source()))).message, /the file is gone/);
  await settled();
  assert.equal(stream?.ended(), "aborted");
  assert.equal(server.openConnections, 1);
});

test("an error in the middle of an upload reaches the writer", async () => {
  const server = new FakeServer({
    handlers: {
      storageVolUpload: (_args, { stream }) => {
        stream.fail(new FakeLibvirtError("systemError", "No space left on device"));
        return {};
      },
    },
  });
  const { client } = await start(server);
  async function* endless() {
    for (;;) {
      await settled();
      yield new Uint8Array(1_000);
    }
  }
  const error = await failure(client.volumes.upload(volume, endless()));
  assert.ok(isLibvirtError(error, "systemError") && /No space left/.test(error.message));
});

test("a writer waits for a daemon that is slow", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  server.handlers.storageVolUpload = () => ({});
  const { open: openWire } = server.transport;
  Object.assign(server.transport, {
    open: async (signal: AbortSignal) => {
      const wire = await openWire(signal);
      return {
        attach: wire.attach.bind(wire),
        pause: wire.pause.bind(wire),
        resume: wire.resume.bind(wire),
        destroy: wire.destroy.bind(wire),
        // Takes everything, and says from the first byte of data on that it is too much.
        write: (bytes: Uint8Array) => {
          wire.write(bytes);
          return bytes.byteLength < 10_000;
        },
      };
    },
  });
  const { stream } = await client.openStream("storageVolUpload", { volume, offset: 0, length: 0, flags: 0 });
  let written = false;
  const writing = stream.write(new Uint8Array(20_000)).then(() => (written = true));
  await settled();
  assert.equal(written, false);
  server.dropConnections();
  await writing;
});

test("a download comes with its holes, and is confirmed at the end", async () => {
  let stream: FakeStream | undefined;
  const server = new FakeServer({
    handlers: {
      storageVolDownload: (_args, call) => {
        stream = call.stream;
        stream.send(Buffer.from("head"));
        stream.sendHole(1_048_576);
        stream.send(Buffer.from("tail"));
        stream.sendEnd();
        return {};
      },
    },
  });
  const { client } = await start(server);
  assert.deepEqual(await collect(await client.volumes.download(volume, { flags: 1 })), ["head", 1_048_576, "tail"]);
  assert.equal(stream?.ended(), "finished");
  await settled();
  assert.equal(server.openConnections, 1);
});

test("a reader who stops holds the daemon up instead of filling memory", async () => {
  const server = new FakeServer();
  const { client } = await start(server);
  let sent = 0;
  let stream: FakeStream | undefined;
  server.handlers.storageVolDownload = (_args, call) => {
    stream = call.stream;
    return {};
  };
  const download = await client.volumes.download(volume);
  const send = async (count: number) => {
    for (let index = 0; index < count; index += 1) {
      stream?.send(new Uint8Array(100_000));
      sent += 1;
      await settled();
    }
  };
  await send(40);
  // At most the high-water mark and a little is read; the rest stays on the wire.
  assert.ok(download.bufferedBytes <= 1_300_000, `${download.bufferedBytes} bytes are kept`);
  stream?.sendEnd();
  let read = 0;
  for await (const piece of download) read += piece.kind === "data" ? piece.data.byteLength : 0;
  assert.equal(read, sent * 100_000);
});

test("leaving a download early breaks it off", async () => {
  let stream: FakeStream | undefined;
  const server = new FakeServer({
    handlers: {
      storageVolDownload: (_args, call) => {
        stream = call.stream;
        stream.send(Buffer.from("head"));
        return {};
      },
    },
  });
  const { client } = await start(server);
  for await (const piece of await client.volumes.download(volume)) {
    assert.equal(piece.kind, "data");
    break;
  }
  await settled();
  assert.equal(stream?.ended(), "aborted");
  assert.equal(server.openConnections, 1);
});

test("a stream that is refused, or whose connection is lost, fails", async () => {
  const server = new FakeServer({
    handlers: {
      domainOpenConsole: () => {
        throw new FakeLibvirtError("operationFailed", "Active console session exists for this domain");
      },
    },
  });
  const { client } = await start(server);
  assert.ok(isLibvirtError(await failure(client.domains.openConsole(vm)), "operationFailed"));
  await settled();
  assert.equal(server.openConnections, 1);

  server.handlers.domainOpenConsole = () => ({});
  const console = await client.domains.openConsole(vm);
  const reading = failure(console.read());
  server.dropConnections();
  assert.ok((await reading) instanceof LibvirtConnectionError);
});

test("a console carries bytes both ways", async () => {
  const server = new FakeServer({
    handlers: {
      domainOpenConsole: (args, { stream }) => {
        assert.equal(args.device, "serial0");
        void (async () => {
          for await (const piece of stream.received)
            if (piece.kind === "data") stream.send(Buffer.from(`echo ${Buffer.from(piece.data).toString()}`));
        })();
        return {};
      },
    },
  });
  const { client } = await start(server);
  const console = await client.domains.openConsole(vm, "serial0");
  await console.write(Buffer.from("ls\n"));
  const piece = await console.read();
  assert.equal(piece?.kind === "data" && Buffer.from(piece.data).toString(), "echo ls\n");
  await console.finish();
});

test("a screenshot is one image", async () => {
  const server = new FakeServer({
    handlers: {
      domainScreenshot: (_args, { stream }) => {
        stream.send(Buffer.from("P6 "));
        stream.send(Buffer.from("2 2"));
        stream.sendEnd();
        return { mime: "image/x-portable-pixmap" };
      },
    },
  });
  const { client } = await start(server);
  const { mime, image } = await client.domains.screenshot(vm);
  assert.deepEqual([mime, Buffer.from(image).toString()], ["image/x-portable-pixmap", "P6 2 2"]);
});

test("a stream that does not open in time is given up with its connection", async () => {
  const server = new FakeServer({ handlers: { domainOpenConsole: () => new Promise<never>(() => undefined) } });
  const { client, timers } = await start(server);
  const failed = failure(client.domains.openConsole(vm, null, 0, { timeoutMs: 500 }));
  await timers.advance(500);
  assert.ok((await failed) instanceof LibvirtTimeoutError);
  await settled();
  assert.equal(server.openConnections, 1);
});
