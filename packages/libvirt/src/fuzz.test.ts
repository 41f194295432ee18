/** The decoders against damaged input: a daemon that is broken or hostile must not crash, hang or bloat its client. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Codec, decodeValue, encodeValue } from "./codec.ts";
import { decodeFrame, encodeFrame, FRAME_HEADER_BYTES, FrameSplitter, MessageStatus, MessageType } from "./frame.ts";
import { GeneratingReader, seededDraw } from "./generating-reader.ts";
import { eventDefinitions } from "./procedures/events.ts";
import { procedures } from "./procedures/table.ts";
import { remoteError } from "./structures.ts";
import { XdrError } from "./xdr.ts";

const MUTATIONS = Number(process.env["FUZZ_FRAMES"] ?? 1_000_000);
const SEED = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 0xffffffff));
const EXTREMES = [0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffc, 0x0003ffff, 0x00400000, 0x10000000];

interface Specimen {
  readonly codec: Codec<unknown>;
  readonly bytes: Buffer;
}

const draw = seededDraw(SEED);

function specimens(): readonly Specimen[] {
  const codecs: Codec<unknown>[] = [remoteError];
  for (const { args, reply } of Object.values(procedures)) codecs.push(args, reply);
  for (const { codec } of Object.values(eventDefinitions)) codecs.push(codec);
  const header = { program: 0x20008086, procedure: 1, type: MessageType.reply, serial: 1, status: MessageStatus.ok };
  const made: Specimen[] = [];
  for (const codec of codecs.filter(({ minBytes }) => minBytes > 0)) {
    for (let copy = 0; copy < 4; copy += 1) {
      made.push({ codec, bytes: Buffer.from(encodeFrame(header, encodeValue(codec, codec.decode(new GeneratingReader(draw))))) });
    }
  }
  return made;
}

/** Damages a copy: flipped bits, extreme words, cut off, or with something added. */
function damaged(source: Buffer, scratch: Buffer): Buffer {
  let length = source.copy(scratch);
  for (let count = draw.int(1, 3); count > 0; count -= 1) {
    const at = draw.int(0, length - 1);
    switch (draw.int(0, 4)) {
      case 0:
        scratch[at] = (scratch[at] ?? 0) ^ (1 << draw.int(0, 7));
        break;
      case 1:
      case 2: {
        // A length, a count or a discriminant: words are where decoders go wrong.
        const word = FRAME_HEADER_BYTES + (draw.int(0, Math.max(0, length - FRAME_HEADER_BYTES - 4)) & ~3);
        if (word + 4 <= length) scratch.writeUInt32BE(EXTREMES[draw.int(0, EXTREMES.length - 1)] ?? 0, word);
        break;
      }
      case 3:
        length = Math.max(1, at);
        break;
      default:
        scratch.copyWithin(Math.min(at + 4, scratch.length), at, length);
        length = Math.min(length + 4, scratch.length);
    }
  }
  return scratch.subarray(0, length);
}

const stackTraceLimit = Error.stackTraceLimit;
before(() => {
  // A million errors are made on purpose; their stacks would be most of the work.
  Error.stackTraceLimit = 0;
});
after(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

test(`${MUTATIONS} damaged frames are decoded or refused, with bounded memory (FUZZ_SEED=${SEED})`, () => {
  const corpus = specimens();
  const scratch = Buffer.alloc(Math.max(...corpus.map(({ bytes }) => bytes.length)) + 64);
  let decoded = 0;
  let refused = 0;
  let slowestMs = 0;
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  for (let round = 0; round < MUTATIONS; round += 1) {
    const specimen = corpus[draw.int(0, corpus.length - 1)];
    assert.ok(specimen);
    const bytes = damaged(specimen.bytes, scratch);
    const started = performance.now();
    try {
      decodeValue(specimen.codec, decodeFrame(bytes).payload);
      decoded += 1;
    } catch (error) {
      if (!(error instanceof XdrError)) throw new Error(`FUZZ_SEED=${SEED} round ${round}: ${bytes.toString("hex")}`, { cause: error });
      refused += 1;
    }
    slowestMs = Math.max(slowestMs, performance.now() - started);
  }
  const grownBytes = process.memoryUsage().rss - before;
  assert.equal(decoded + refused, MUTATIONS);
  // Both must happen a lot, else the damage is too small or too great to test anything.
  assert.ok(decoded > MUTATIONS / 100 && refused > MUTATIONS / 10, `${decoded} decoded, ${refused} refused`);
  assert.ok(grownBytes < 200 * 1_048_576, `memory grew by ${grownBytes} bytes`);
  assert.ok(slowestMs < 2_000, `one frame took ${slowestMs} ms`);
});

test("a damaged stream of frames ends in an error or goes on, and keeps no more than it was given", () => {
  const corpus = specimens();
  for (let round = 0; round < 2_000; round += 1) {
    const chosen = Array.from({ length: 8 }, () => corpus[draw.int(0, corpus.length - 1)]?.bytes ?? Buffer.alloc(0));
    const stream = Buffer.concat(chosen);
    for (let flips = draw.int(1, 4); flips > 0; flips -= 1) {
      const at = draw.int(0, stream.length - 1);
      stream[at] = (stream[at] ?? 0) ^ (1 << draw.int(0, 7));
    }
    const splitter = new FrameSplitter();
    try {
      for (let offset = 0; offset < stream.length; offset += 97) {
        for (const frame of splitter.push(stream.subarray(offset, offset + 97))) assert.ok(frame.payload.byteLength <= stream.length);
        assert.ok(splitter.bufferedBytes <= stream.length);
      }
    } catch (error) {
      assert.ok(error instanceof XdrError, `FUZZ_SEED=${SEED}: ${String(error)}`);
    }
  }
});
