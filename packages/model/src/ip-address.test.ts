import assert from "node:assert/strict";
import { isIP } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { formatIp, isInside, isReserved, normalIp, parseIp } from "./ip-address.ts";

test("every address survives being written and read", () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 128n - 1n), (value) => {
      const text = formatIp({ family: 6, value });
      assert.equal(isIP(text), 6);
      assert.deepEqual(parseIp(text), { family: 6, value });
      // The platform's own spelling of it.
      assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`);
    }),
  );
  fc.assert(
    fc.property(fc.ipV4(), (text) => {
      assert.equal(normalIp(text), text);
    }),
  );
});

test("all spellings of one address are one", () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const normal = normalIp(text);
      assert.equal(normalIp(normal), normal);
      assert.equal(new URL(`http://[${text}]/`).hostname, `[${normal}]`);
    }),
  );
  assert.equal(normalIp("FD00:0:0:0::0001"), "fd00::1");
  assert.equal(normalIp("::ffff:10.0.0.1"), "::ffff:a00:1");
  assert.equal(normalIp("1:0:0:2:0:0:0:3"), "1:0:0:2::3");
});

test("what is no address is none", () => {
  for (const text of ["1.2.3", "1.2.3.256", "1:2", "::1::", "12345::", "1:2:3:4:5:6:7:8:9", "g::"]) assert.equal(parseIp(text), null, text);
});

test("inside and reserved", () => {
  const at = (text: string) => parseIp(text) ?? assert.fail(text);
  assert.equal(isInside(at("10.0.1.255"), "10.0.0.0/23"), true);
  assert.equal(isInside(at("10.0.2.0"), "10.0.0.0/23"), false);
  assert.equal(isInside(at("fd00::1"), "10.0.0.0/8"), false);
  assert.equal(isInside(at("fd00::ffff"), "fd00::/64"), true);
  assert.deepEqual(
    ["10.0.0.0", "10.0.0.255", "10.0.0.1"].map((text) => isReserved(at(text), "10.0.0.0/24")),
    [true, true, false],
  );
  assert.deepEqual(
    ["fd00::", "fd00::ffff:ffff:ffff:ffff"].map((text) => isReserved(at(text), "fd00::/64")),
    [true, false],
  );
  assert.equal(isReserved(at("10.0.0.0"), "10.0.0.0/31"), false);
});
