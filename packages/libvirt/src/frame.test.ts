import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeFrame, encodeFrame, type Frame, FrameSplitter, MAX_FRAME_BYTES, MessageStatus, MessageType } from "./frame.ts";
import { REMOTE_PROGRAM } from "./procedures/procedure.ts";
import { XdrError } from "./xdr.ts";

const frames = fc.record({
  program: fc.nat({ max: 0xffffffff }),
  procedure: fc.nat({ max: 0x7fffffff }),
  type: fc.constantFrom(...Object.values(MessageType)),
  serial: fc.nat({ max: 0xffffffff }),
  status: fc.constantFrom(...Object.values(MessageStatus)),
  payload: fc.uint8Array({ maxLength: 64 }),
});

const plain = (frame: Frame) => ({ ...frame, payload: [...frame.payload] });

test("a call of AUTH_LIST is the bytes that libvirt's own client sends", () => {
  const bytes = encodeFrame({ program: REMOTE_PROGRAM, procedure: 66, type: MessageType.call, serial: 0, status: MessageStatus.ok });
  assert.equal(Buffer.from(bytes).toString("hex"), "0000001c200080860000000100000042000000000000000000000000");
});

test("frames survive, however the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(frames, { maxLength: 5 }), fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map((frame) => encodeFrame(frame, frame.payload)));
      const splitter = new FrameSplitter();
      const received: Frame[] = [];
      for (let offset = 0, turn = 0; offset < bytes.length; turn += 1) {
        const length = cuts[turn % cuts.length] ?? 1;
        received.push(...splitter.push(bytes.subarray(offset, offset + length)));
        offset += length;
      }
      assert.deepEqual(received.map(plain), sent.map(plain));
      assert.equal(splitter.bufferedBytes, 0);
    }),
  );
});

test("a length no frame can have ends the stream", () => {
  for (const length of ["00000000", "0000001b", "02000005", "ffffffff", "48545450"]) {
    assert.throws(() => [...new FrameSplitter().push(Buffer.from(length, "hex"))], XdrError, length);
  }
});

test("a frame that claims 32 MiB costs only what arrived", () => {
  const splitter = new FrameSplitter();
  const head = Buffer.alloc(8);
  head.writeUInt32BE(MAX_FRAME_BYTES);
  assert.deepEqual([...splitter.push(head)], []);
  assert.equal(splitter.bufferedBytes, 8);
});

test("another version, type or status is refused, and so is a message that is too large to send", () => {
  const good = Buffer.from(encodeFrame({ program: 1, procedure: 1, type: 1, serial: 1, status: 0 }));
  for (const [offset, value] of [
    [8, 2],
    [16, 7],
    [16, -1],
    [24, 3],
  ] as const) {
    const bad = Buffer.from(good);
    bad.writeInt32BE(value, offset);
    assert.throws(() => decodeFrame(bad), XdrError);
  }
  assert.throws(() => encodeFrame({ program: 1, procedure: 1, type: 0, serial: 1, status: 0 }, new Uint8Array(MAX_FRAME_BYTES)), XdrError);
});
