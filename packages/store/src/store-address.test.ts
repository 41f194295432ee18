import assert from "node:assert/strict";
import { test } from "node:test";
import { hasCode } from "./testing/conformance-kit.ts";
import { parseStoreAddress } from "./store-address.ts";

test("addresses say members, prefix and certificates", () => {
  assert.deepEqual(parseStoreAddress("sqlite"), { kind: "sqlite" });
  assert.deepEqual(parseStoreAddress("etcd://127.0.0.1"), { kind: "etcd", endpoints: ["127.0.0.1:2379"], prefix: "sheaf/", tls: null });
  assert.deepEqual(parseStoreAddress("etcd://a:1,[fd00::1]:2,b/site/one/"), {
    kind: "etcd",
    endpoints: ["a:1", "[fd00::1]:2", "b:2379"],
    prefix: "site/one/",
    tls: null,
  });
  assert.deepEqual(parseStoreAddress("etcds://a?ca=/etc/ca.pem&cert=/c.pem&key=/k.pem"), {
    kind: "etcd",
    endpoints: ["a:2379"],
    prefix: "sheaf/",
    tls: { authority: "/etc/ca.pem", certificate: "/c.pem", key: "/k.pem" },
  });
});

test("what is no address is refused with the reason", () => {
  for (const text of [
    "",
    "sqlite3",
    "http://a:2379",
    "etcd://",
    "etcd://a:0",
    "etcd://a:99999",
    "etcd://a,,b",
    "etcd://a/with space",
    "etcd://a?ca=x",
    "etcds://a",
    "etcds://a?ca=x&cert=y",
    "etcds://a?ca=x&secret=y",
  ])
    assert.throws(() => parseStoreAddress(text), hasCode("invalid"), text);
});
