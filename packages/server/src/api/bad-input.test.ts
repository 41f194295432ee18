/** Every refusal has its status and code, is never a 5xx, and leaves the store as it was (the audit trail aside). */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ApiFixture, type RequestOptions } from "../testing/api-fixture.ts";

let fixture: ApiFixture;
const ids = { vm: "", pinned: "", other: "", volume: "", project: "", host: "", expired: "", user: "" };

before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
  const vm = await fixture.make("/vms", { name: "web", number: 500, spec: { disks: [{ name: "root", image: "mini" }] } });
  ids.vm = vm.id;
  ids.volume = vm.spec.disks[0].volume;
  ids.pinned = (
    await fixture.make("/vms", {
      name: "pinned",
      spec: { protected: true, nics: [{ name: "a", network: "default", mac: "52:54:00:aa:bb:cc", addresses: ["10.0.9.9"] }] },
    })
  ).id;
  ids.project = (await fixture.make("/projects", { name: "other", spec: {} })).id;
  ids.other = (await fixture.make("/vms", { name: "theirs", project: "other", spec: {} })).id;
  ids.host = (await fixture.host("h1")).id;
  ids.user = (await fixture.make("/users", { name: "eve", spec: { password: "password of eve" } })).id;
  await fixture.make("/images", { name: "cd", spec: { source: { url: "http://example.org/a.iso" }, type: "iso" } });
  await fixture.make("/images", { name: "coming", spec: { source: { upload: true } } });
  await fixture.make("/networks", {
    name: "small",
    spec: { bridge: "br1", subnets: [{ cidr: "10.9.0.0/24", range: { from: "10.9.0.5", to: "10.9.0.5" } }] },
  });
  await fixture.make("/vms", { name: "last-address", spec: { nics: [{ name: "a", network: "small" }] } });
  const token = await fixture.request("POST", "/tokens", { name: "short", validForMs: 60_000 });
  ids.expired = token.body.secret;
  fixture.clock.advance(61_000);
});
after(() => fixture.stop());

interface Case {
  readonly what: string;
  readonly do: () => readonly [method: string, path: string, body?: unknown, options?: RequestOptions];
  readonly status: number;
  readonly code: string;
  /** The field that is named. */
  readonly at?: string;
}

const vm = (what: string, body: object, at: string, status = 400, code = "invalid-input"): Case => ({
  what,
  do: () => ["POST", "/vms", body],
  status,
  code,
  at,
});
const spec = (what: string, fields: object, at: string, status = 400, code = "invalid-input"): Case =>
  vm(what, { name: "bad", spec: fields }, at, status, code);
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
const raw = (
  what: string,
  text: string | Uint8Array<ArrayBuffer>,
  status = 400,
  code = "invalid-input",
  headers: Record<string, string> = {},
): Case => ({
  what,
  do: () => ["POST", "/vms", undefined, { raw: text, headers }],
  status,
  code,
});
const disk = { name: "root", sizeBytes: 2 ** 30 };

const cases: readonly Case[] = [
  vm("no name", { spec: {} }, "/name"),
  vm("no spec", { name: "bad" }, "/spec"),
  vm("an empty name", { name: "", spec: {} }, "/name"),
  vm("capitals in a name", { name: "Web", spec: {} }, "/name"),
  vm("a name of 64 characters", { name: "a".repeat(64), spec: {} }, "/name"),
  vm("a name that ends in a hyphen", { name: "web-", spec: {} }, "/name"),
  vm("a path as a name", { name: "../../etc/passwd", spec: {} }, "/name"),
  vm("XML as a name", { name: "<name/>", spec: {} }, "/name"),
  vm("a command as a name", { name: "$(reboot)", spec: {} }, "/name"),
  vm("a name with a line break", { name: "web\n", spec: {} }, "/name"),
  vm("a number as a name", { name: 12, spec: {} }, "/name"),
  vm("another kind", { kind: "host", name: "bad", spec: {} }, "/kind"),
  vm("an unknown field", { name: "bad", spec: {}, color: "red" }, "/color"),
  vm("fields that Sheaf sets", { name: "bad", spec: {}, id: "x", revision: 1 }, "/id"),
  vm("a number below 100", { name: "bad", number: 99, spec: {} }, "/number"),
  vm("a number too large", { name: "bad", number: 1_000_000_000, spec: {} }, "/number"),
  vm("a number that is no whole one", { name: "bad", number: 100.5, spec: {} }, "/number"),
  vm("a number that is taken", { name: "bad", number: 500, spec: {} }, "/number", 409, "name-taken"),
  vm("a name that is taken", { name: "web", spec: {} }, "/name", 409, "name-taken"),
  vm("a label key with spaces", { name: "bad", labels: { "a b": "c" }, spec: {} }, "/labels/a b"),
  vm("a label value with markup", { name: "bad", labels: { a: "<b>" }, spec: {} }, "/labels/a"),
  vm("a label that is a number", { name: "bad", labels: { a: 1 }, spec: {} }, "/labels/a"),
  vm("65 labels", { name: "bad", labels: Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`k${index}`, "v"])), spec: {} }, "/labels"),
  vm("a display name with a control character", { name: "bad", displayName: "a\u0007b", spec: {} }, "/displayName"),
  vm("a NUL in a text", { name: "bad", displayName: "a\u0000b", spec: {} }, "/displayName"),
  vm("half a surrogate pair", { name: "bad", displayName: "\ud800", spec: {} }, "/displayName"),
  vm("a display name of 201 characters", { name: "bad", displayName: "a".repeat(201), spec: {} }, "/displayName"),
  vm("a project that is not there", { name: "bad", project: "nowhere", spec: {} }, "project", 404, "not-found"),
  spec("an unknown field of the spec", { cpus: 2 }, "/spec/cpus"),
  spec("no vCPU", { cpu: { count: 0 } }, "/spec/cpu/count"),
  spec("513 vCPUs", { cpu: { count: 513 } }, "/spec/cpu/count"),
  spec("vCPUs as a text", { cpu: { count: "2" } }, "/spec/cpu/count"),
  spec("half a vCPU", { cpu: { count: 1.5 } }, "/spec/cpu/count"),
  spec("fewer vCPUs at most than now", { cpu: { count: 4, maximum: 2 } }, "/spec/cpu/maximum"),
  spec("a topology that does not fit", { cpu: { count: 4, topology: { sockets: 1, cores: 3, threads: 1 } } }, "/spec/cpu/topology"),
  spec("XML as a CPU model", { cpu: { model: "<model/>" } }, "/spec/cpu/model"),
  spec("memory of 1 byte", { memory: { bytes: 1 } }, "/spec/memory/bytes"),
  spec("memory of 17 TiB", { memory: { bytes: 17 * 2 ** 40 } }, "/spec/memory/bytes"),
  spec("memory that is not whole MiB", { memory: { bytes: 2 ** 30 + 1 } }, "/spec/memory/bytes"),
  spec("negative memory", { memory: { bytes: -(2 ** 30) } }, "/spec/memory/bytes"),
  spec("memory beyond exact numbers", { memory: { bytes: 1e300 } }, "/spec/memory/bytes"),
  spec("a balloon above the memory", { memory: { bytes: 2 ** 30, minimumBytes: 2 ** 31 } }, "/spec/memory/minimumBytes"),
  spec("Secure Boot with BIOS", { firmware: { type: "bios", secureBoot: true } }, "/spec/firmware/secureBoot"),
  spec("an unknown power state", { power: "on" }, "/spec/power"),
  spec("a disk without size, image or volume", { disks: [{ name: "root" }] }, "/spec/disks/0/sizeBytes"),
  spec("a disk of 100 bytes", { disks: [{ name: "root", sizeBytes: 100 }] }, "/spec/disks/0/sizeBytes"),
  spec("a disk of broken sectors", { disks: [{ name: "root", sizeBytes: 2 ** 30 + 1 }] }, "/spec/disks/0/sizeBytes"),
  spec("a disk of 65 TiB", { disks: [{ name: "root", sizeBytes: 65 * 2 ** 40 }] }, "/spec/disks/0/sizeBytes"),
  spec("a disk smaller than its image", { disks: [{ name: "root", image: "mini", sizeBytes: 2 ** 20 }] }, "/spec/disks/0/sizeBytes"),
  spec("an image that is not there", { disks: [{ name: "root", image: "nothing" }] }, "/spec/disks/0/image", 404, "not-found"),
  spec("an ISO as a disk", { disks: [{ name: "root", image: "cd" }] }, "/spec/disks/0/image"),
  spec("a disk image as a CD-ROM", { cdroms: [{ name: "cd", image: "mini" }] }, "/spec/cdroms/0/image"),
  spec("no size of an image that is still coming", { disks: [{ name: "root", image: "coming" }] }, "/spec/disks/0/sizeBytes", 409, "state-refused"),
  spec("a pool that is not there", { disks: [{ ...disk, pool: "nothing" }] }, "/spec/disks/0/pool", 404, "not-found"),
  spec("two disks of one name", { disks: [disk, disk] }, "/spec/disks/1/name"),
  spec("25 disks", { disks: Array.from({ length: 25 }, (_, index) => ({ ...disk, name: `d${index}` })) }, "/spec/disks"),
  spec("limits that exclude each other", { disks: [{ ...disk, limits: { totalBytesPerSecond: 1, readBytesPerSecond: 1 } }] }, "/spec/disks/0/limits"),
  spec("a network that is not there", { nics: [{ name: "a", network: "nothing" }] }, "/spec/nics/0/network", 404, "not-found"),
  spec("a multicast MAC", { nics: [{ name: "a", network: "default", mac: "53:54:00:00:00:01" }] }, "/spec/nics/0/mac"),
  spec("a MAC that is taken", { nics: [{ name: "a", network: "default", mac: "52:54:00:aa:bb:cc" }] }, "", 409, "name-taken"),
  spec("an address that is taken", { nics: [{ name: "a", network: "default", addresses: ["10.0.9.9"] }] }, "", 409, "name-taken"),
  spec("an address that is none", { nics: [{ name: "a", network: "default", addresses: ["10.0.0.256"] }] }, "/spec/nics/0/addresses/0"),
  spec("an address of another network", { nics: [{ name: "a", network: "default", addresses: ["192.168.1.1"] }] }, "/spec/nics/0/addresses/0"),
  spec("the gateway's address", { nics: [{ name: "a", network: "default", addresses: ["10.0.0.1"] }] }, "/spec/nics/0/addresses/0"),
  spec("the broadcast address", { nics: [{ name: "a", network: "default", addresses: ["10.0.255.255"] }] }, "/spec/nics/0/addresses/0"),
  spec("one address twice", { nics: [{ name: "a", network: "default", addresses: ["fd00:5::77", "fd00:5:0::77"] }] }, "/spec/nics/0/addresses/1"),
  spec("a range without a free address", { nics: [{ name: "a", network: "small" }] }, "", 409, "no-capacity"),
  spec("an SSH key with options", { cloudInit: { sshAuthorizedKeys: ['command="reboot" ssh-ed25519 AAAA'] } }, "/spec/cloudInit/sshAuthorizedKeys/0"),
  spec("two lines as an SSH key", { cloudInit: { sshAuthorizedKeys: ["ssh-ed25519 AAAA a\nssh-rsa BBBB"] } }, "/spec/cloudInit/sshAuthorizedKeys/0"),
  spec("user data of 17 KiB", { cloudInit: { userData: "x".repeat(17 * 1024) } }, "/spec/cloudInit/userData"),
  spec("the stand-in of a secret that is not there", { cloudInit: { password: "(secret)" } }, "/spec/cloudInit/password"),
  spec("a host that is not there", { placement: { host: "nothing" } }, "/spec/placement/host", 404, "not-found"),
  spec("a cluster that is not there", { placement: { cluster: "nothing" } }, "/spec/placement/cluster", 404, "not-found"),
  spec("another machine's volume", { disks: [{ name: "root", volume: "web-root" }] }, "/spec/disks/0/volume", 409, "in-use"),
  raw("no JSON", "{"),
  raw("two JSON documents", "{}{}"),
  raw("a member twice", '{"name":"bad","name":"worse","spec":{}}'),
  raw("a member twice, spelt in two ways", '{"name":"bad","spec":{"cpu":{"count":1,"c\\u006funt":2}}}'),
  raw("another charset", '{"name":"bad","spec":{}}', 415, "unsupported-media", { "content-type": "application/json; charset=latin1" }),
  raw("a packed body", '{"name":"bad","spec":{}}', 415, "unsupported-media", { "content-encoding": "gzip" }),
  raw("headers of 40 KB", '{"name":"bad","spec":{}}', 413, "too-large", { "x-more": "x".repeat(40_000) }),
  raw("a body that is no object", "[]"),
  raw("null", "null"),
  raw("bytes that are no UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
  raw("33 levels", nested(33)),
  raw("100,000 levels", "[".repeat(100_000)),
  raw("__proto__", '{"name":"bad","spec":{},"__proto__":{"admin":true}}'),
  raw("constructor", '{"name":"bad","spec":{"constructor":{"prototype":{"a":1}}}}'),
  raw("more than 1 MiB", JSON.stringify({ name: "bad", spec: {}, displayName: "x".repeat(2 ** 20) }), 413, "too-large"),
  raw("a form", "name=bad", 415, "unsupported-media", { "content-type": "application/x-www-form-urlencoded" }),
  raw("XML", "<vm/>", 415, "unsupported-media", { "content-type": "application/xml" }),
  raw("bytes", "bad", 415, "unsupported-media", { "content-type": "application/octet-stream" }),
  {
    what: "a malformed Idempotency-Key",
    do: () => ["POST", "/vms", { name: "bad", spec: {} }, { headers: { "idempotency-key": "../x y" } }],
    status: 400,
    code: "invalid-input",
    at: "Idempotency-Key",
  },
  { what: "an unknown query", do: () => ["POST", "/vms?force=true", { name: "bad", spec: {} }], status: 400, code: "invalid-input", at: "force" },
  {
    what: "dryRun that is no truth value",
    do: () => ["POST", "/vms?dryRun=perhaps", { name: "bad", spec: {} }],
    status: 400,
    code: "invalid-input",
    at: "dryRun",
  },
  { what: "a parameter twice", do: () => ["GET", "/vms?limit=1&limit=2"], status: 400, code: "invalid-input", at: "limit" },
  { what: "a page of 1001", do: () => ["GET", "/vms?limit=1001"], status: 400, code: "invalid-input", at: "limit" },
  { what: "a page of none", do: () => ["GET", "/vms?limit=0"], status: 400, code: "invalid-input", at: "limit" },
  { what: "a made-up cursor", do: () => ["GET", "/vms?cursor=abc"], status: 400, code: "invalid-input", at: "cursor" },
  { what: "a filter without operator", do: () => ["GET", "/vms?filter=running"], status: 400, code: "invalid-input", at: "filter" },
  { what: "a filter by a secret", do: () => ["GET", "/vms?filter=spec.cloudInit.password~a"], status: 400, code: "invalid-input", at: "filter" },
  { what: "sorting by a password's hash", do: () => ["GET", "/users?sort=spec.passwordHash"], status: 400, code: "invalid-input", at: "sort" },
  { what: "a field that is none", do: () => ["GET", "/vms?fields=constructor"], status: 400, code: "invalid-input", at: "fields" },
  { what: "a label selector with markup", do: () => ["GET", "/vms?label=<a>"], status: 400, code: "invalid-input", at: "label" },
  { what: "a revision that is none", do: () => ["GET", "/vms?revision=-1"], status: 400, code: "invalid-input", at: "revision" },
  { what: "a path as an id", do: () => ["GET", "/vms/..%2F..%2Fetc"], status: 400, code: "invalid-input", at: "id" },
  { what: "a machine that is not there", do: () => ["GET", "/vms/nothing"], status: 404, code: "not-found" },
  { what: "an id that is not there", do: () => ["GET", "/vms/01930000-0000-7000-8000-000000000000"], status: 404, code: "not-found" },
  { what: "a path that is not there", do: () => ["GET", "/machines"], status: 404, code: "not-found" },
  { what: "a broken escape in a path", do: () => ["GET", "/vms/%E0%A4%A"], status: 400, code: "invalid-input" },
  { what: "a method that is not there", do: () => ["PUT", "/vms"], status: 405, code: "method-not-allowed" },
  {
    what: "a stale If-Match",
    do: () => ["PATCH", `/vms/${ids.vm}`, { labels: { a: "b" } }, { headers: { "if-match": '"1"' } }],
    status: 412,
    code: "precondition-failed",
  },
  {
    what: "an If-Match that is none",
    do: () => ["PATCH", `/vms/${ids.vm}`, { labels: { a: "b" } }, { headers: { "if-match": "W/yes" } }],
    status: 400,
    code: "invalid-input",
    at: "If-Match",
  },
  { what: "a patch with an unknown field", do: () => ["PATCH", "/vms/web", { status: {} }], status: 400, code: "invalid-input", at: "/status" },
  {
    what: "a patch of the spec with an unknown field",
    do: () => ["PATCH", "/vms/web", { spec: { cpus: 1 } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/cpus",
  },
  {
    what: "a patch to a wrong value",
    do: () => ["PATCH", "/vms/web", { spec: { cpu: { count: 0 } } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/cpu/count",
  },
  { what: "a rename to a name that is taken", do: () => ["PATCH", "/vms/web", { name: "pinned" }], status: 409, code: "name-taken", at: "/name" },
  {
    what: "another image for a disk",
    do: () => ["PATCH", "/vms/web", { spec: { disks: [{ name: "root", image: "coming" }] } }],
    status: 409,
    code: "state-refused",
    at: "/spec/disks/0/image",
  },
  {
    what: "a smaller disk",
    do: () => ["PATCH", "/vms/web", { spec: { disks: [{ name: "root", sizeBytes: 2 ** 20 }] } }],
    status: 409,
    code: "state-refused",
    at: "/spec/disks/0/sizeBytes",
  },
  {
    what: "a smaller volume",
    do: () => ["PATCH", `/volumes/${ids.volume}`, { spec: { sizeBytes: 2 ** 20 } }],
    status: 409,
    code: "state-refused",
    at: "/spec/sizeBytes",
  },
  { what: "a new number", do: () => ["PUT", "/vms/web", { name: "web", number: 501, spec: {} }], status: 409, code: "state-refused", at: "/number" },
  { what: "another project", do: () => ["PUT", `/vms/${ids.vm}`, { name: "web", project: "other", spec: {} }], status: 409, code: "state-refused" },
  { what: "deleting what is protected", do: () => ["DELETE", `/vms/${ids.pinned}`], status: 409, code: "state-refused" },
  { what: "deleting a volume in use", do: () => ["DELETE", `/volumes/${ids.volume}`], status: 409, code: "in-use" },
  { what: "deleting an image in use", do: () => ["DELETE", "/images/mini"], status: 409, code: "in-use" },
  { what: "deleting a network in use", do: () => ["DELETE", "/networks/default"], status: 409, code: "in-use" },
  { what: "deleting a pool in use", do: () => ["DELETE", "/pools/local"], status: 409, code: "in-use" },
  { what: "deleting a cluster in use", do: () => ["DELETE", "/clusters/default"], status: 409, code: "in-use" },
  { what: "deleting a project with content", do: () => ["DELETE", "/projects/other"], status: 409, code: "in-use" },
  { what: "deleting the project default", do: () => ["DELETE", "/projects/default"], status: 409, code: "state-refused" },
  { what: "deleting a built-in role", do: () => ["DELETE", "/roles/viewer"], status: 409, code: "state-refused" },
  { what: "deleting the last administrator", do: () => ["DELETE", "/users/admin"], status: 409, code: "state-refused" },
  { what: "disabling the last administrator", do: () => ["PATCH", "/users/admin", { spec: { disabled: true } }], status: 409, code: "state-refused" },
  {
    what: "a user with a short password",
    do: () => ["POST", "/users", { name: "bob", spec: { password: "short" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/password",
  },
  {
    what: "a user with a password's hash",
    do: () => ["POST", "/users", { name: "bob", spec: { passwordHash: "scrypt$1$1$1$a$b" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/passwordHash",
  },
  {
    what: "a role that is not there",
    do: () => ["POST", "/users", { name: "bob", spec: { grants: [{ role: "king", project: "*" }] } }],
    status: 404,
    code: "not-found",
    at: "/spec/grants/0/role",
  },
  {
    what: "a privilege that is none",
    do: () => ["POST", "/roles", { name: "king", spec: { privileges: ["everything"] } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/privileges/0",
  },
  {
    what: "a wrong password",
    do: () => ["POST", "/sessions", { user: "admin", password: "wrong" }, { token: null }],
    status: 401,
    code: "unauthenticated",
  },
  {
    what: "a user that is not there",
    do: () => ["POST", "/sessions", { user: "nobody", password: "wrong" }, { token: null }],
    status: 401,
    code: "unauthenticated",
  },
  { what: "no token", do: () => ["GET", "/vms", undefined, { token: null }], status: 401, code: "unauthenticated" },
  { what: "a made-up token", do: () => ["POST", "/vms", { name: "bad", spec: {} }, { token: "abc" }], status: 401, code: "unauthenticated" },
  { what: "an expired API token", do: () => ["GET", "/vms", undefined, { token: ids.expired }], status: 401, code: "unauthenticated" },
  { what: "a made-up API token", do: () => ["GET", "/vms", undefined, { token: "sheaf_x_y" }], status: 401, code: "unauthenticated" },
  {
    what: "a made-up invitation",
    do: () => [
      "POST",
      "/host-joins",
      { token: "join_x", certificateRequest: "CSR", hostname: "h", machineId: "m", address: "10.1.1.1" },
      { token: null },
    ],
    status: 403,
    code: "not-allowed",
  },
  {
    what: "a gateway outside its subnet",
    do: () => ["POST", "/networks", { name: "bad", spec: { bridge: "br9", subnets: [{ cidr: "10.8.0.0/24", gateway: "10.7.0.1" }] } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/subnets/0/gateway",
  },
  {
    what: "a VLAN on a bridge that Sheaf does not make",
    do: () => ["POST", "/networks", { name: "bad", spec: { bridge: "br9", vlan: 5 } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/vlan",
  },
  {
    what: "a range that ends before it begins",
    do: () => [
      "POST",
      "/networks",
      { name: "bad", spec: { bridge: "br9", subnets: [{ cidr: "10.8.0.0/24", range: { from: "10.8.0.9", to: "10.8.0.2" } }] } },
    ],
    status: 400,
    code: "invalid-input",
    at: "/spec/subnets/0/range/to",
  },
  {
    what: "subnets that overlap",
    do: () => ["POST", "/networks", { name: "bad", spec: { bridge: "br9", subnets: [{ cidr: "10.8.0.0/24" }, { cidr: "10.8.0.0/16" }] } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/subnets/1/cidr",
  },
  {
    what: "a bridge with a space",
    do: () => ["POST", "/networks", { name: "bad", spec: { bridge: "br 0" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/bridge",
  },
  {
    what: "a bridge name of 16 characters",
    do: () => ["POST", "/networks", { name: "bad", spec: { bridge: "b".repeat(16) } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/bridge",
  },
  {
    what: "a pool path with ..",
    do: () => ["POST", "/pools", { name: "bad", spec: { type: "local", path: "/a/../b" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/path",
  },
  {
    what: "a relative pool path",
    do: () => ["POST", "/pools", { name: "bad", spec: { type: "local", path: "a/b" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/path",
  },
  {
    what: "a pool path with a quote",
    do: () => ["POST", "/pools", { name: "bad", spec: { type: "local", path: "/a'b" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/path",
  },
  {
    what: "moving a pool with volumes",
    do: () => ["PATCH", "/pools/local", { spec: { path: "/elsewhere" } }],
    status: 409,
    code: "state-refused",
    at: "/spec/path",
  },
  {
    what: "an image from a file URL",
    do: () => ["POST", "/images", { name: "bad", spec: { source: { url: "file:///etc/passwd" } } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/source/url",
  },
  {
    what: "an image's URL with a password",
    do: () => ["POST", "/images", { name: "bad", spec: { source: { url: "https://user:hunter2@example.org/a.qcow2" } } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/source/url",
  },
  {
    what: "a checksum that is too short",
    do: () => ["POST", "/images", { name: "bad", spec: { source: { upload: true }, checksum: `sha512:${"a".repeat(64)}` } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/checksum",
  },
  {
    what: "uploading to a fetched image",
    do: () => ["PUT", "/images/cd/content", undefined, { raw: "x", headers: { "content-type": "application/octet-stream" } }],
    status: 409,
    code: "state-refused",
  },
  {
    what: "an upload with a broken range",
    do: () => [
      "PUT",
      "/images/coming/content",
      undefined,
      { raw: "x", headers: { "content-type": "application/octet-stream", "content-range": "bytes 9-1/5" } },
    ],
    status: 400,
    code: "invalid-input",
    at: "Content-Range",
  },
  {
    what: "an upload behind a gap",
    do: () => [
      "PUT",
      "/images/coming/content",
      undefined,
      { raw: "x", headers: { "content-type": "application/octet-stream", "content-range": "bytes 9-9/10" } },
    ],
    status: 409,
    code: "conflict",
  },
  { what: "rebooting what waits for a host", do: () => ["POST", "/vms/web/reboot", {}], status: 409, code: "state-refused" },
  { what: "migrating what waits for a host", do: () => ["POST", "/vms/web/migrate", {}], status: 409, code: "state-refused" },
  { what: "migrating with an unknown wish", do: () => ["POST", "/vms/web/migrate", { fast: true }], status: 400, code: "invalid-input", at: "/fast" },
  { what: "activating an open host", do: () => ["POST", "/hosts/h1/activate", {}], status: 409, code: "state-refused" },
  { what: "making a host by hand", do: () => ["POST", "/hosts", { name: "h9", spec: {} }], status: 405, code: "method-not-allowed" },
  {
    what: "a volume that names a file of the host",
    do: () => ["POST", "/volumes", { name: "mine", spec: { pool: "local", sizeBytes: 2 ** 20, file: "../../etc/shadow" } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/file",
  },
  {
    what: "adopting under no name",
    do: () => ["POST", "/hosts/h1/unmanaged/11111111-1111-4111-8111-111111111111/adopt", { acceptLosses: true }],
    status: 400,
    code: "invalid-input",
    at: "/name",
  },
  {
    what: "adopting a domain that is not there",
    do: () => ["POST", "/hosts/h1/unmanaged/22222222-2222-4222-8222-222222222222/adopt", { name: "mine" }],
    status: 404,
    code: "not-found",
  },
  { what: "watching a kind that is none", do: () => ["GET", "/watch?kind=cow"], status: 400, code: "invalid-input", at: "kind" },
  {
    what: "watching on from nowhere",
    do: () => ["GET", "/watch", undefined, { headers: { "last-event-id": "abc" } }],
    status: 400,
    code: "invalid-input",
    at: "Last-Event-ID",
  },
  {
    what: "a quota below nothing",
    do: () => ["PATCH", "/projects/other", { spec: { quota: { vms: -1 } } }],
    status: 400,
    code: "invalid-input",
    at: "/spec/quota/vms",
  },
];

describe("bad input", () => {
  for (const one of cases)
    test(one.what, async () => {
      const stored = await fixture.contents();
      const [method, path, body, options] = one.do();
      const reply = await fixture.request(method, path, body, options);
      assert.equal(reply.status, one.status, reply.text);
      assert.equal(reply.body.code, one.code, reply.text);
      assert.match(reply.headers.get("content-type") ?? "", /^application\/problem\+json/);
      assert.equal(reply.body.status, one.status);
      assert.ok(reply.body.detail.length > 10, reply.text);
      if (one.at !== undefined && one.at !== "") {
        const fields = (reply.body.errors ?? []).map((error: { at: string }) => error.at);
        assert.ok(fields.includes(one.at), `${one.at} is not among ${fields.join(", ")}: ${reply.text}`);
      }
      assert.deepEqual(await fixture.contents(), stored);
    });

  test("there are enough of them", () => assert.ok(cases.length >= 80));
});
