/** Bad input over HTTPS: what is sent, and the problem that must come back. */
import type { RawRequest } from "./raw-request.ts";

/** What the site was furnished with before: tokens of others, and records to refer to. */
export interface Furniture {
  readonly vmId: string;
  readonly volumeId: string;
  readonly viewer: string;
  readonly revoked: string;
  /** Of a user who was disabled since. */
  readonly disabled: string;
  /** May do all, but in the project `other` alone. */
  readonly scoped: string;
  /** Looks like one of this site's, was made by another. */
  readonly foreign: string;
  readonly agent: { readonly cert: string; readonly key: string };
}

export interface ApiCase {
  readonly what: string;
  readonly send: (furniture: Furniture) => RawRequest;
  readonly code: string;
  /** The field that is named. */
  readonly at?: string;
}

const api = "/api/v1";
const json = (value: unknown): string => JSON.stringify(value);
const post = (what: string, path: string, body: unknown, at: string, code = "invalid-input"): ApiCase => ({
  what,
  send: () => ({ path: api + path, body: typeof body === "string" ? body : json(body) }),
  code,
  ...(at === "" ? {} : { at }),
});
const vm = (what: string, spec: object, at: string, code?: string): ApiCase => post(what, "/vms", { name: "bad", spec }, at, code);
/** JSON that JavaScript would not write. */
const text = (what: string, body: string, at = "", code?: string): ApiCase => post(what, "/vms", body, at, code);
const as = (what: string, who: keyof Furniture, request: RawRequest, code: string): ApiCase => ({
  what,
  send: (furniture) => ({ ...request, token: String(furniture[who]) }),
  code,
});
const create: RawRequest = { path: `${api}/vms`, body: json({ name: "bad", spec: {} }) };

const hostileNames: readonly (readonly [string, string])[] = [
  ["a path", "../../etc/passwd"],
  ["an absolute path", "/etc/shadow"],
  ["a NUL", "web\u0000"],
  ["a line break", "web\nname"],
  ["a shell's metacharacters", "web;reboot"],
  ["a substitution", "$(reboot)"],
  ["an option", "-rf"],
  ["XML", "</name><devices>"],
  ["an entity", "&lt;"],
  ["a dot", "."],
  ["letters of another script", "wéb"],
  ["letters that look like others", "ｗeb"],
];

export const apiCases: readonly ApiCase[] = [
  ...hostileNames.map(([what, name]) => post(`${what} as a machine's name`, "/vms", { name, spec: {} }, "/name")),
  ...hostileNames
    .slice(0, 8)
    .map(([what, name]) => post(`${what} as a bridge`, "/networks", { name: "bad", spec: { bridge: name } }, "/spec/bridge")),
  ...hostileNames
    .filter(([, name]) => name !== "-rf")
    .slice(0, 8)
    .map(([what, path]) => post(`${what} as a pool's path`, "/pools", { name: "bad", spec: { type: "local", path: `/srv/${path}` } }, "/spec/path")),
  ...hostileNames
    .slice(0, 8)
    .map(([what, value]) => post(`${what} as a label`, "/vms", { name: "bad", labels: { tier: value }, spec: {} }, "/labels/tier")),
  post("a control character in a display name", "/vms", { name: "bad", displayName: "a\u001b[31m", spec: {} }, "/displayName"),
  vm("a NUL in user data", { cloudInit: { userData: "#cloud-config\u0000" } }, "/spec/cloudInit/userData"),
  vm("a line break in a password", { cloudInit: { password: "a\nroot:b" } }, "/spec/cloudInit/password"),
  vm("XML as a CPU model", { cpu: { model: "qemu64</model><feature/>" } }, "/spec/cpu/model"),
  vm("XML as a MAC", { nics: [{ name: "a", network: "default", mac: "52:54:00:00:00:01'/><x a='" }] }, "/spec/nics/0/mac"),
  vm("XML as a group", { placement: { together: "<a/>" } }, "/spec/placement/together"),
  vm("a path as an image", { disks: [{ name: "root", image: "../mini" }] }, "/spec/disks/0/image"),
  vm("a path as a volume", { disks: [{ name: "root", volume: "/etc/shadow" }] }, "/spec/disks/0/volume"),
  vm("an unknown field deep down", { disks: [{ name: "root", sizeBytes: 2 ** 30, path: "/etc/shadow" }] }, "/spec/disks/0/path"),
  vm("a text as a number", { memory: { bytes: "4GiB" } }, "/spec/memory/bytes"),
  vm("a truth value as a number", { cpu: { count: true } }, "/spec/cpu/count"),
  vm("a list as an object", { cpu: [] }, "/spec/cpu"),
  vm("a disk beyond the largest", { disks: [{ name: "root", sizeBytes: 2 ** 53 - 512 }] }, "/spec/disks/0/sizeBytes"),
  text("NaN", '{"name":"bad","spec":{"cpu":{"count":NaN}}}'),
  text("1e309", '{"name":"bad","spec":{"cpu":{"count":1e309}}}', "/spec/cpu/count"),
  text("-1e309", '{"name":"bad","spec":{"memory":{"bytes":-1e309}}}', "/spec/memory/bytes"),
  text("-0 vCPUs", '{"name":"bad","spec":{"cpu":{"count":-0}}}', "/spec/cpu/count"),
  text("2^53 + 1", '{"name":"bad","spec":{"disks":[{"name":"root","sizeBytes":9007199254740993}]}}', "/spec/disks/0/sizeBytes"),
  text("a number of 10,000 digits", `{"name":"bad","spec":{"priority":${"9".repeat(10_000)}}}`, "/spec/priority"),
  text("a hexadecimal number", '{"name":"bad","spec":{"priority":0x10}}'),
  text("a member twice", '{"name":"bad","spec":{"power":"stopped","power":"running"}}'),
  text("a comment", '{"name":"bad","spec":{}} // mine'),
  text("a byte order mark", '\ufeff{"name":"bad","spec":{}}'),
  text("1,000 levels", `{"name":"bad","spec":${'{"a":'.repeat(1000)}1${"}".repeat(1001)}`),
  text("200,000 levels", "[".repeat(200_000)),
  text("an empty body", ""),
  text("more than 1 MiB", json({ name: "bad", spec: {}, displayName: "x".repeat(2 ** 20) }), "", "too-large"),
  text(
    "10,000 disks",
    json({ name: "bad", spec: { disks: Array.from({ length: 10_000 }, (_, index) => ({ name: `d${index}`, sizeBytes: 2 ** 30 })) } }),
    "/spec/disks",
  ),
  text("__proto__", '{"name":"bad","spec":{"__proto__":{"power":"stopped"}}}', "/spec/__proto__"),
  { what: "headers of 100 KB", send: () => ({ path: `${api}/vms`, headers: { "x-long": "x".repeat(100_000) } }), code: "too-large" },
  { what: "an address of 50 KB", send: () => ({ path: `${api}/vms?filter=${"a".repeat(50_000)}` }), code: "too-large" },
  { what: "a record's name of 1,000 characters", send: () => ({ path: `${api}/vms/${"a".repeat(1000)}` }), code: "invalid-input" },
  { what: "a path in a path", send: () => ({ path: `${api}/vms/..%2f..%2f..%2fetc%2fpasswd` }), code: "invalid-input", at: "id" },
  { what: "a NUL in a path", send: () => ({ path: `${api}/vms/web%00` }), code: "invalid-input", at: "id" },
  { what: "a path as a project", send: () => ({ path: `${api}/vms?project=..%2f` }), code: "invalid-input", at: "project" },
  {
    what: "a form",
    send: () => ({ path: `${api}/vms`, body: "name=bad", headers: { "content-type": "application/x-www-form-urlencoded" } }),
    code: "unsupported-media",
  },
  { what: "a packed body", send: () => ({ ...create, headers: { "content-encoding": "gzip" } }), code: "unsupported-media" },
  post("a name that is taken", "/vms", { name: "web", spec: {} }, "/name", "name-taken"),
  post("a pool's name that is taken", "/pools", { name: "local", spec: { type: "local", path: "/srv/p" } }, "/name", "name-taken"),
  post("a user's name that is taken", "/users", { name: "admin", spec: { password: "a long enough password" } }, "/name", "name-taken"),
  post("a volume larger than a full pool has room for", "/volumes", { name: "bad", spec: { pool: "full", sizeBytes: 2 ** 46 } }, "", "no-capacity"),
  vm("a machine's disk in a full pool", { disks: [{ name: "root", sizeBytes: 2 ** 46, pool: "full" }] }, "", "no-capacity"),
  post("a machine too many for its project", "/vms?project=tight", { name: "bad", spec: {} }, "", "quota-exceeded"),
  {
    what: "a stale If-Match",
    send: ({ vmId }) => ({ method: "PATCH", path: `${api}/vms/${vmId}`, body: json({ labels: { a: "b" } }), headers: { "if-match": '"1"' } }),
    code: "precondition-failed",
  },
  {
    what: "a stale revision in PUT",
    send: ({ vmId }) => ({ method: "PUT", path: `${api}/vms/${vmId}`, body: json({ name: "web", spec: {} }), headers: { "if-match": '"2"' } }),
    code: "precondition-failed",
  },
  {
    what: "a used Idempotency-Key with another body",
    send: () => ({ path: `${api}/networks`, body: json({ name: "bad", spec: { bridge: "br9" } }), headers: { "idempotency-key": "used-before" } }),
    code: "idempotency-mismatch",
  },
  { what: "a volume in use", send: ({ volumeId }) => ({ method: "DELETE", path: `${api}/volumes/${volumeId}` }), code: "in-use" },
  { what: "an image in use", send: () => ({ method: "DELETE", path: `${api}/images/mini` }), code: "in-use" },
  {
    what: "a smaller disk",
    send: ({ volumeId }) => ({ method: "PATCH", path: `${api}/volumes/${volumeId}`, body: json({ spec: { sizeBytes: 2 ** 20 } }) }),
    code: "state-refused",
    at: "/spec/sizeBytes",
  },
  { what: "rebooting what is off", send: () => ({ path: `${api}/vms/web/reboot`, body: "{}" }), code: "state-refused" },
  { what: "removing a host with machines", send: () => ({ method: "DELETE", path: `${api}/hosts/h1` }), code: "in-use" },
  {
    what: "an image of this machine's own network",
    send: () => ({ path: `${api}/images?dryRun=perhaps`, body: json({ name: "bad", spec: { source: { url: "http://127.0.0.1/" } } }) }),
    code: "invalid-input",
    at: "dryRun",
  },
  post("an image's URL with a password", "/images", { name: "bad", spec: { source: { url: "http://u:hunter2@example.org/a" } } }, "/spec/source/url"),
  post("an image of a file's URL", "/images", { name: "bad", spec: { source: { url: "file:///etc/shadow" } } }, "/spec/source/url"),
  { what: "an address without a token", send: () => ({ path: `${api}/vms`, token: null }), code: "unauthenticated" },
  { what: "a token of rubbish", send: () => ({ ...create, token: "x".repeat(4000) }), code: "unauthenticated" },
  {
    what: "a password in the header",
    send: () => ({ ...create, token: null, headers: { authorization: "Basic YWRtaW46YWRtaW4=" } }),
    code: "unauthenticated",
  },
  as("a token of another site", "foreign", create, "unauthenticated"),
  as("a revoked token", "revoked", create, "unauthenticated"),
  as("a token of a user who was disabled", "disabled", create, "unauthenticated"),
  as("a viewer who creates", "viewer", create, "not-allowed"),
  as("a viewer who deletes", "viewer", { method: "DELETE", path: `${api}/vms/web` }, "not-allowed"),
  as("a viewer who backs up", "viewer", { path: `${api}/backups`, body: "{}" }, "not-allowed"),
  as("a viewer who reads the audit trail", "viewer", { path: `${api}/audit` }, "not-allowed"),
  as("a token of one project in another", "scoped", { ...create, path: `${api}/vms?project=default` }, "not-found"),
  as(
    "a token of one project at a pool",
    "scoped",
    { path: `${api}/pools`, body: json({ name: "bad", spec: { type: "local", path: "/srv/p" } }) },
    "not-allowed",
  ),
  {
    what: "an agent's certificate on the people's port",
    send: ({ agent }) => ({ ...create, token: null, certificate: agent }),
    code: "unauthenticated",
  },
  {
    what: "a made-up invitation of a host",
    send: () => ({
      path: `${api}/host-joins`,
      token: null,
      body: json({ token: "join_x", certificateRequest: "CSR", hostname: "h", machineId: "m", address: "10.1.1.1" }),
    }),
    code: "not-allowed",
  },
  {
    what: "a wrong password",
    send: () => ({ path: `${api}/sessions`, token: null, body: json({ user: "admin", password: "wrong" }) }),
    code: "unauthenticated",
  },
];
