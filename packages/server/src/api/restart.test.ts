/** What survives a restart of the server, on the durable store. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openSqliteStore } from "@sheaf/store";
import { ApiFixture } from "../testing/api-fixture.ts";
import { TestClock } from "../testing/test-clock.ts";

test("sessions, tokens, receipts, numbers, addresses and the audit trail go on after a restart", async () => {
  const directory = await mkdtemp(join(tmpdir(), "sheaf-api-"));
  const clock = new TestClock();
  const open = () =>
    openSqliteStore({ path: join(directory, "store.sqlite"), clock, random: { bytes: (length) => new Uint8Array(randomBytes(length)) } });
  const machine = (name: string) => ({ name, spec: { disks: [{ name: "root", image: "mini" }] } });
  const keyed = { headers: { "idempotency-key": "once" } };
  try {
    let store = await open();
    const first = await ApiFixture.start({ clock, store });
    await first.furnish();
    const made = await first.request("POST", "/vms", machine("before"), keyed);
    assert.equal(made.status, 201, made.text);
    const doomed = await first.make("/vms", machine("doomed"));
    const token = (await first.request("POST", "/tokens", { name: "ci" })).body.secret as string;
    // As the deletion controller does it.
    await store.transact({
      compare: [],
      then: [
        { deletePrefix: `r/vm/${doomed.id}/` },
        { delete: `u/name/vm/${doomed.project}/doomed` },
        { delete: `u/number/vm/${doomed.number}` },
        ...doomed.spec.nics[0].addresses.map((address: string) => ({ delete: `u/address/${doomed.spec.nics[0].network}/${address}` })),
      ],
    });
    const session = first.token;
    await first.stop();
    await store.close();

    store = await open();
    const second = await ApiFixture.start({ clock, store });
    try {
      assert.equal((await second.get("/vms/before", { token: session })).body.id, made.body.record.id);
      assert.equal((await second.get("/vms/before", { token })).status, 200);
      second.token = session;
      const again = await second.request("POST", "/vms", machine("before"), keyed);
      assert.deepEqual([again.status, again.body.task], [201, made.body.task]);
      const next = await second.make("/vms", machine("next"));
      assert.equal(next.number, doomed.number + 1, "a number once given is not given again");
      assert.notEqual(next.spec.nics[0].addresses[0], made.body.record.spec.nics[0].addresses[0]);
      const verified = (await second.get("/audit/verification")).body;
      assert.deepEqual([verified.problems, verified.chains], [[], 2]);
    } finally {
      await second.stop();
      await store.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
