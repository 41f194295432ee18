/** Who may do what, where: roles, projects, tokens, passwords, throttling. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { allRoutes } from "@sheaf/contract";
import { resetPassword } from "../identity/bootstrap.ts";
import { adminPassword, ApiFixture, entries } from "../testing/api-fixture.ts";
import { TestClock } from "../testing/test-clock.ts";

let fixture: ApiFixture;
let viewer = "";
let operator = "";
let foreign = "";
before(async () => {
  fixture = await ApiFixture.start();
  await fixture.furnish();
  await fixture.make("/projects", { name: "red", spec: {} });
  await fixture.make("/projects", { name: "blue", spec: {} });
  viewer = await fixture.user("vera", [{ role: "viewer", project: "red" }]);
  operator = await fixture.user("otto", [{ role: "operator", project: "red" }]);
  foreign = await fixture.user("fred", [{ role: "operator", project: "blue" }]);
  await fixture.make("/vms", { name: "app", project: "red", spec: { nics: [] } });
});
after(() => fixture.stop());

const app = "/vms/app?project=red";

test("a viewer sees and changes nothing", async () => {
  assert.equal((await fixture.get(app, { token: viewer })).status, 200);
  assert.equal((await fixture.get("/vms", { token: viewer })).body.total, 1);
  for (const [method, path, body] of [
    ["POST", "/vms?project=red", { name: "x", spec: {} }],
    ["PATCH", app, { labels: { a: "b" } }],
    ["DELETE", app, undefined],
    ["POST", "/vms/app/stop?project=red", {}],
    ["POST", "/images?project=red", { name: "x", spec: { source: { upload: true } } }],
    ["POST", "/pools", { name: "x", spec: { type: "local", path: "/x" } }],
    ["POST", "/users", { name: "x", spec: {} }],
  ] as const) {
    const reply = await fixture.request(method, path, body, { token: viewer });
    assert.equal(reply.status, 403, `${method} ${path}: ${reply.text}`);
    assert.equal(reply.body.code, "not-allowed");
  }
});

test("an operator works in its project alone", async () => {
  assert.equal(
    (await fixture.request("POST", "/vms?project=red", { name: "mine", spec: { disks: [{ name: "root", image: "mini" }] } }, { token: operator }))
      .status,
    201,
  );
  assert.equal((await fixture.request("PATCH", app, { labels: { by: "otto" } }, { token: operator })).status, 200);
  assert.equal((await fixture.request("POST", "/vms/app/stop?project=red", {}, { token: operator })).status, 202);
  assert.equal((await fixture.request("POST", "/vms", { name: "x", project: "blue", spec: {} }, { token: operator })).status, 404);
  assert.equal((await fixture.request("POST", "/hosts/any/cordon", {}, { token: operator })).status, 403);
  assert.equal((await fixture.get("/audit", { token: operator })).status, 403);
  assert.equal((await fixture.get("/users", { token: operator })).status, 403);
  assert.equal((await fixture.request("POST", "/backups", {}, { token: operator })).status, 403);
});

test("another project's records are not there: neither by name, id, list nor task", async () => {
  const { id } = (await fixture.get(app)).body;
  const volume = (await fixture.get("/volumes?project=red")).body.items[0]?.id;
  for (const path of [app, `/vms/${id}`, `/volumes/${volume}`, "/projects/red"])
    assert.equal((await fixture.get(path, { token: foreign })).status, 404, path);
  assert.equal((await fixture.get("/vms", { token: foreign })).body.total, 0);
  assert.equal((await fixture.get("/tasks", { token: foreign })).body.total, 0);
  assert.equal((await fixture.get("/projects", { token: foreign })).body.total, 1);
  assert.equal((await fixture.request("DELETE", `/vms/${id}`, undefined, { token: foreign })).status, 404);
  const stolen = await fixture.request(
    "POST",
    "/vms?project=blue",
    { name: "thief", spec: { disks: [{ name: "root", volume }] } },
    { token: foreign },
  );
  assert.equal(stolen.status, 404, stolen.text);
});

test("public images and networks are seen and used from every project, and changed by none but their own", async () => {
  assert.equal((await fixture.get("/images", { token: foreign })).body.total, 1);
  assert.equal((await fixture.request("PATCH", "/networks/default?project=blue", { labels: { a: "b" } }, { token: foreign })).status, 403);
  const image = (await fixture.get("/images", { token: foreign })).body.items[0].id;
  assert.equal((await fixture.request("PATCH", `/images/${image}`, { labels: { a: "b" } }, { token: foreign })).status, 403);
  assert.equal(
    (await fixture.request("POST", "/vms?project=blue", { name: "uses", spec: { disks: [{ name: "root", image }] } }, { token: foreign })).status,
    201,
  );
});

test("consoles ask the same door", async () => {
  const { api } = fixture;
  const bearer = (token: string) => ({ authorization: `Bearer ${token}`, from: "127.0.0.1" });
  assert.equal(api.authorize(bearer(operator), "vm.console", "vm", "app", "red").record.name, "app");
  assert.throws(() => api.authorize(bearer(viewer), "vm.console", "vm", "app", "red"), { code: "not-allowed" });
  assert.throws(() => api.authorize(bearer(foreign), "vm.console", "vm", "app", "red"), { code: "not-found" });
  assert.throws(() => api.authorize({ authorization: undefined, from: "127.0.0.1" }, "vm.console", "vm", "app", "red"), { code: "unauthenticated" });
});

test("nobody gives what he does not hold", async () => {
  await fixture.make("/roles", { name: "clerk", spec: { privileges: ["user.view", "user.change"] } });
  const clerk = await fixture.user("clara", [{ role: "clerk", project: "*" }]);
  assert.equal(
    (await fixture.request("POST", "/users", { name: "x", spec: { grants: [{ role: "admin", project: "*" }] } }, { token: clerk })).body.code,
    "not-allowed",
  );
  assert.equal(
    (await fixture.request("PATCH", "/users/clara", { spec: { grants: [{ role: "admin", project: "*" }] } }, { token: clerk })).body.code,
    "not-allowed",
  );
  assert.equal(
    (await fixture.request("PATCH", "/roles/clerk", { spec: { privileges: ["system.maintain"] } }, { token: clerk })).body.code,
    "not-allowed",
  );
  assert.equal((await fixture.request("POST", "/users", { name: "plain", spec: {} }, { token: clerk })).status, 201);
});

test("a role that is taken away counts at once", async () => {
  const token = await fixture.user("tina", [{ role: "operator", project: "red" }]);
  assert.equal((await fixture.get(app, { token })).status, 200);
  await fixture.request("PATCH", "/users/tina", { spec: { grants: [] } });
  assert.equal((await fixture.get(app, { token })).status, 403);
  await fixture.request("PATCH", "/users/tina", { spec: { disabled: true } });
  assert.equal((await fixture.get("/whoami", { token })).status, 401);
});

test("an API token acts as its user with no more than it names, and is shown once", async () => {
  const made = await fixture.request("POST", "/tokens", { name: "ci", privileges: ["vm.view"], project: "red" }, { token: operator });
  assert.equal(made.status, 201, made.text);
  const token = made.body.secret as string;
  assert.equal(made.body.record.spec.secretHash, "(secret)");
  assert.equal((await fixture.get(app, { token })).status, 200);
  assert.equal((await fixture.request("PATCH", app, { labels: {} }, { token })).status, 403);
  assert.equal((await fixture.request("POST", "/tokens", { name: "more" }, { token })).status, 403);
  const who = await fixture.get("/whoami", { token });
  assert.deepEqual([who.body.user, who.body.privileges], ["otto", ["vm.view"]]);
  const shown = await fixture.get("/tokens/ci", { token: operator });
  assert.equal(shown.body.spec.secretHash, "(secret)");
  assert.ok(!JSON.stringify(await entries(fixture.context.store)).includes(token.split("_")[2] ?? ""), "the secret is stored nowhere");
  assert.equal((await fixture.get("/tokens/ci", { token: foreign })).status, 404);
  assert.equal((await fixture.request("DELETE", "/tokens/ci", undefined, { token: operator })).status, 202);
  assert.equal((await fixture.get(app, { token })).status, 401);
});

test("an API token ends when it was said to", async () => {
  const clock = new TestClock();
  const site = await ApiFixture.start({ clock });
  try {
    const made = await site.request("POST", "/tokens", { name: "short", validForMs: 3_600_000 });
    const token = made.body.secret as string;
    assert.equal((await site.get("/hosts", { token })).status, 200);
    clock.advance(3_600_001);
    assert.equal((await site.get("/hosts", { token })).status, 401);
  } finally {
    await site.stop();
  }
});

test("a token with more than its user has is refused", async () => {
  const reply = await fixture.request("POST", "/tokens", { name: "big", privileges: ["host.change"] }, { token: operator });
  assert.equal(reply.body.code, "not-allowed");
});

test("passwords and secrets are nowhere in answers, store or audit", async () => {
  await fixture.make("/vms", {
    name: "hidden",
    spec: { nics: [], cloudInit: { userData: "#cloud-config very-secret-data", password: "very-secret-password" } },
  });
  const shown = await fixture.get("/vms/hidden");
  assert.deepEqual([shown.body.spec.cloudInit.userData, shown.body.spec.cloudInit.password], ["(secret)", "(secret)"]);
  const stored = JSON.stringify(await entries(fixture.context.store));
  for (const secret of ["very-secret-data", "very-secret-password", adminPassword, "password of a user"]) assert.ok(!stored.includes(secret), secret);
  const audit = (await fixture.get("/audit?limit=1000")).text;
  assert.ok(!audit.includes("scrypt$") && !audit.includes("sealed:v1:"));
  const kept = (await fixture.contents()).get(`r/vm/${shown.body.id}/spec`);
  const sealed = JSON.parse(kept ?? "{}").spec.cloudInit;
  await fixture.request("PATCH", "/vms/hidden", { spec: { cloudInit: { hostname: "new", password: "(secret)" } } });
  const after = JSON.parse((await fixture.contents()).get(`r/vm/${shown.body.id}/spec`) ?? "{}").spec.cloudInit;
  assert.deepEqual([after.password, after.userData, after.hostname], [sealed.password, sealed.userData, "new"]);
  assert.equal(fixture.context.secrets.open(after.userData), "#cloud-config very-secret-data");
});

test("a session ends by signing out, by a new password, and by itself when it is not used", async () => {
  const first = await fixture.user("sam", [{ role: "viewer", project: "red" }]);
  const second = await fixture.signIn("sam", "password of a user");
  assert.equal((await fixture.request("DELETE", "/sessions/current", undefined, { token: second })).status, 200);
  assert.equal((await fixture.get("/whoami", { token: second })).status, 401);
  const third = await fixture.signIn("sam", "password of a user");
  assert.equal(
    (await fixture.request("POST", "/users/sam/password", { current: "wrong", password: "another password" }, { token: first })).status,
    403,
  );
  assert.equal(
    (await fixture.request("POST", "/users/sam/password", { current: "password of a user", password: "another password" }, { token: first })).status,
    200,
  );
  assert.equal((await fixture.get("/whoami", { token: third })).status, 401);
  assert.equal((await fixture.get("/whoami", { token: first })).status, 200);
  assert.equal((await fixture.request("POST", "/users/admin/password", { password: "taken over!" }, { token: first })).status, 404);
  fixture.clock.advance(11 * 3_600_000);
  assert.equal((await fixture.get("/whoami", { token: first })).status, 200);
  fixture.clock.advance(11 * 3_600_000);
  assert.equal((await fixture.get("/whoami", { token: first })).status, 200);
  fixture.clock.advance(13 * 3_600_000);
  assert.equal((await fixture.get("/whoami", { token: first })).status, 401);
  fixture.token = await fixture.signIn("admin", adminPassword);
});

test("guessing is slowed down, for the right password too, and others are not", async () => {
  await fixture.user("gus", []);
  const codes: string[] = [];
  for (let tries = 0; tries < 7; tries += 1)
    codes.push((await fixture.request("POST", "/sessions", { user: "gus", password: "guess" }, { token: null })).body.code);
  assert.deepEqual(codes, [...Array.from({ length: 5 }, () => "unauthenticated"), "throttled", "throttled"]);
  const right = await fixture.request("POST", "/sessions", { user: "gus", password: "password of a user" }, { token: null });
  assert.equal(right.status, 429);
  assert.ok(Number(right.headers.get("retry-after")) >= 1);
  await fixture.signIn("admin", adminPassword);
  fixture.clock.advance(20 * 60_000);
  await fixture.signIn("gus", "password of a user");
});

test("whoever sits at the server sets a new password, and old sessions end", async () => {
  const old = await fixture.user("rita", []);
  await resetPassword(fixture.context, "rita", "set at the server", 16);
  await fixture.cache.waitFor(await fixture.context.store.revision());
  await fixture.signIn("rita", "set at the server");
  for (let tries = 0; (await fixture.get("/whoami", { token: old })).status !== 401; tries += 1) assert.ok(tries < 200, "the old session goes on");
  await assert.rejects(resetPassword(fixture.context, "nobody", "set at the server", 16), { code: "not-found" });
});

test("without a session every route but those for anyone says so", async () => {
  for (const route of allRoutes) {
    const path = route.path.replace(/:uuid/, "11111111-1111-4111-8111-111111111111").replace(/:id/, "any");
    const { status } = await fixture.request(route.method, path, route.method === "GET" || route.method === "DELETE" ? undefined : {}, {
      token: null,
    });
    if (route.privilege === "anyone") assert.notEqual(status, 401, route.name);
    else assert.equal(status, 401, route.name);
  }
});

test("with a session and no role every route that asks for a privilege refuses", async () => {
  const nobody = await fixture.user("nora", []);
  const stored = await fixture.contents();
  for (const route of allRoutes) {
    if (route.privilege === "anyone" || route.privilege === "signed-in") continue;
    const path = route.path.replace(/:uuid/, "11111111-1111-4111-8111-111111111111").replace(/:id/, "app");
    const reply = await fixture.request(route.method, path, route.method === "GET" || route.method === "DELETE" ? undefined : {}, { token: nobody });
    assert.equal(reply.status, 403, `${route.name}: ${reply.text}`);
  }
  assert.deepEqual(await fixture.contents(), stored);
});

test("strangers are slowed down by address", async () => {
  const strict = await ApiFixture.start({ limits: { strangersPerSecond: 5 } });
  try {
    const codes = await Promise.all(Array.from({ length: 12 }, async () => (await strict.get("/vms", { token: null })).status));
    assert.ok(codes.filter((status) => status === 429).length >= 5);
    assert.equal((await strict.get("/vms")).status, 200);
  } finally {
    await strict.stop();
  }
});
