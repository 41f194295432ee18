import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { charArray, type Codec, decodeValue, encodeValue, fixedCharArray, flag, int, list, nullable, size, string, struct, uint } from "./codec.ts";
import { type Draw, GeneratingReader } from "./generating-reader.ts";
import { eventDefinitions } from "./procedures/events.ts";
import { qemuMonitorEvent } from "./procedures/qemu.ts";
import { procedures } from "./procedures/table.ts";
import { remoteError, uuid } from "./structures.ts";
import { typedParameters } from "./typed-params.ts";
import { XdrError } from "./xdr.ts";

function drawFrom(gen: fc.GeneratorValue): Draw {
  return {
    int: (min, max) => gen(integerBetween, min, max),
    big: (min, max) => gen(fc.bigInt, { min, max }),
    text: (maxLength) => gen(text, maxLength),
  };
}

const integerBetween = (min: number, max: number) => fc.bigInt({ min: BigInt(min), max: BigInt(max) }).map(Number);
const text = (maxLength: number) => fc.string({ maxLength, unit: "grapheme" }).map((value) => value.replaceAll("\0", ""));

/** A value of the codec survives the wire, takes a multiple of four bytes and at least `minBytes`. */
function roundTrip(codec: Codec<unknown>, numRuns: number): void {
  fc.assert(
    fc.property(fc.gen(), (gen) => {
      const value = codec.decode(new GeneratingReader(drawFrom(gen)));
      const bytes = encodeValue(codec, value);
      assert.equal(bytes.byteLength % 4, 0);
      assert.ok(bytes.byteLength >= codec.minBytes);
      assert.deepStrictEqual(decodeValue(codec, bytes), value);
      if (bytes.byteLength > 0) assert.throws(() => decodeValue(codec, bytes.subarray(0, -4)), XdrError);
      assert.throws(() => decodeValue(codec, Buffer.concat([bytes, Buffer.alloc(4)])), XdrError);
    }),
    { numRuns },
  );
}

describe("what is written is read back", () => {
  for (const [name, procedure] of Object.entries(procedures)) {
    test(name, () => {
      roundTrip(procedure.args, 12);
      roundTrip(procedure.reply, 12);
    });
  }
  for (const [name, { codec }] of Object.entries(eventDefinitions)) test(`event ${name}`, () => roundTrip(codec, 30));
  test("monitor event", () => roundTrip(qemuMonitorEvent, 30));
  test("errors", () => roundTrip(remoteError, 100));
  test("typed parameters", () => roundTrip(typedParameters(1_000), 300));
});

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("values look on the wire as RFC 4506 says", () => {
  assert.equal(hex(encodeValue(int, -2)), "fffffffe");
  assert.equal(hex(encodeValue(string, "höst")), "0000000568c3b67374000000");
  assert.equal(hex(encodeValue(nullable(string), null)), "00000000");
  assert.equal(hex(encodeValue(nullable(uint), 7)), "0000000100000007");
  assert.equal(hex(encodeValue(list(uint, 9), [1, 2])), "000000020000000100000002");
  assert.equal(hex(encodeValue(size, 2 ** 40 + 1)), "0000010000000001");
  assert.equal(hex(encodeValue(uuid, "C10E0000-0000-4000-8000-0000000000Ff")), "c10e00000000400080000000000000ff");
  assert.equal(hex(encodeValue(struct({ on: flag, name: string }), { on: true, name: "a" })), "000000010000000161000000");
});

test("C characters take four bytes each and end at NUL", () => {
  assert.equal(hex(encodeValue(fixedCharArray(3), "é")), "ffffffe9" + "00000000".repeat(2));
  assert.equal(decodeValue(fixedCharArray(3), Buffer.from("ffffffe90000000000000041", "hex")), "é");
  assert.equal(decodeValue(charArray(9), Buffer.from("000000020000004100000042", "hex")), "AB");
  assert.throws(() => encodeValue(fixedCharArray(3), "four"), /at most 3/);
});

test("a list that claims more than arrived is refused before it is built", () => {
  const claim = Buffer.from("0003ffff", "hex");
  assert.throws(() => decodeValue(list(string, 262_144), claim), /items need \d+ bytes, 0 are left/);
  assert.throws(() => decodeValue(list(string, 4), Buffer.from("00000005", "hex")), /at most 4/);
});

test("64-bit numbers beyond 2^53 come out as the nearest double and are not written", () => {
  assert.equal(decodeValue(size, Buffer.from("ffffffffffffffff", "hex")), 2 ** 64);
  assert.throws(() => encodeValue(size, 2 ** 53), XdrError);
  assert.throws(() => encodeValue(size, -1), XdrError);
  assert.throws(() => encodeValue(size, 1.5), XdrError);
});

test("text that C would cut or that is no Unicode is refused", () => {
  assert.throws(() => encodeValue(string, "a\0b"), /NUL/);
  assert.throws(() => encodeValue(string, "\ud800"), /well-formed/);
  assert.throws(() => encodeValue(uuid, "../../etc/passwd"), /not a UUID/);
});

test("an error names the field", () => {
  const inner = struct({ names: list(struct({ name: string }), 9) });
  const codec = struct({ outer: inner });
  assert.throws(
    () => encodeValue(codec, { outer: { names: [{ name: "ok" }, { name: "b\0d" }] } }),
    (error: unknown) => error instanceof XdrError && error.message.startsWith("outer.names.1.name: a string"),
  );
  // A caller without types: the value is missing altogether.
  assert.throws(() => encodeValue(codec, {} as never), /^XdrError: outer\.names: the value has the wrong type/);
});
