import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { nameKey, partKey } from "@sheaf/model";
import { openMemoryStore } from "@sheaf/store";
import { entries } from "../testing/api-fixture.ts";
import { TestClock } from "../testing/test-clock.ts";
import { bootstrapAdmin } from "./bootstrap.ts";
import { hashPassword, PasswordGate, verifyPassword } from "./passwords.ts";

const clock = new TestClock();
const random = { bytes: (length: number) => new Uint8Array(randomBytes(length)) };

test("the first start makes what is needed, later ones change nothing, also two at once", async () => {
  const store = await openMemoryStore({ clock, random });
  const made = await Promise.all(
    [1, 2].map((index) => bootstrapAdmin({ store, clock, random }, { password: `password ${index}`, passwordCost: 16 })),
  );
  assert.deepEqual(made.map(({ created }) => created).sort(), [false, true]);
  const before = await entries(store);
  assert.deepEqual(await bootstrapAdmin({ store, clock, random }, { password: "another", passwordCost: 16 }), { created: false });
  assert.deepEqual(await entries(store), before);
  const id = (await store.get(nameKey("user", "-", "admin")))?.value ?? "";
  const { spec } = JSON.parse((await store.get(partKey("user", id, "spec")))?.value ?? "{}");
  assert.equal(await verifyPassword(made[0]?.created ? "password 1" : "password 2", spec.passwordHash), true);
});

test("what is missing later is made later", async () => {
  const store = await openMemoryStore({ clock, random });
  await bootstrapAdmin({ store, clock, random }, { password: "password", passwordCost: 16 });
  const key = nameKey("role", "-", "viewer");
  await store.transact({ compare: [], then: [{ delete: key }] });
  assert.deepEqual(await bootstrapAdmin({ store, clock, random }, { password: "password" }), { created: false });
  assert.notEqual(await store.get(key), null);
});

test("a password fits its hash alone, whatever its cost was", async () => {
  const hash = await hashPassword("pässword", random, 16);
  assert.match(hash, /^scrypt\$16\$8\$1\$[\w-]{22}\$[\w-]{43}$/);
  assert.equal(await verifyPassword("pässword", hash), true);
  assert.equal(await verifyPassword("pa\u0308ssword", hash), true, "the same letter, typed on another keyboard");
  assert.equal(await verifyPassword("passwort", hash), false);
  for (const broken of ["", "scrypt$16$8$1$$", "md5$a$b", "scrypt$16$8$1$c2FsdA"]) assert.equal(await verifyPassword("", broken), false, broken);
  assert.notEqual(await hashPassword("pässword", random, 16), hash);
});

test("few derivations run at once, few wait, the rest is sent away", async () => {
  const gate = new PasswordGate({ parallel: 2, waiting: 3 });
  let running = 0;
  let most = 0;
  const open: (() => void)[] = [];
  const work = () =>
    gate.run(async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise<void>((resolve) => open.push(resolve));
      running -= 1;
    });
  const all = Array.from({ length: 5 }, work);
  await assert.rejects(work(), { code: "throttled" });
  for (let done = 0; done < 5; done += 1) {
    while (open.length === 0) await new Promise((resolve) => setImmediate(resolve));
    open.shift()?.();
  }
  await Promise.all(all);
  assert.equal(most, 2);
});
