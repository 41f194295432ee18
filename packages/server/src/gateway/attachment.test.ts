/** A host's agent goes from one server to another: what it told before must not come after what it tells now. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { ReportedPart } from "@sheaf/contract";
import { attachmentKey } from "@sheaf/model";
import { StoreError, type Store, type TransactionInput } from "@sheaf/store";
import { settle, until, World } from "./gateway.test-support.ts";

describe("an agent that has gone to another server", () => {
  let first: World;
  let second: World;
  let host = "";
  let volume = "";
  /** What the first server's transactions wait for. */
  let held: Promise<void> | null = null;
  let release = (): void => {};

  beforeEach(async () => {
    held = null;
    first = await World.open(
      (store): Store =>
        new Proxy(store, {
          get(target, name) {
            if (name === "transact")
              return async (input: TransactionInput) => {
                await held;
                return target.transact(input);
              };
            const member = Reflect.get(target, name) as unknown;
            return typeof member === "function" ? (member.bind(target) as unknown) : member;
          },
        }),
    );
    second = await World.open(undefined, first);
    for (const world of [first, second]) world.setServers(["https://a", "https://b"]);
    host = await first.host();
    volume = await first.put("volume", { pool: "x", sizeBytes: 2 ** 20 }, { parts: { placement: first.placement(host) } });
    await second.cache.waitFor(await second.store.revision());
  });
  afterEach(async () => {
    second.gateway.close();
    second.cache.close();
    await first.close();
  });

  const seen = (state: string): ReportedPart => ({
    kind: "volume",
    id: volume,
    part: "status/agent",
    value: { state, host, path: "/v", sizeBytes: 2 ** 20, allocatedBytes: 0, observedGeneration: 1 },
  });
  const hold = (): void => {
    held = new Promise((resolve) => (release = resolve));
  };
  const state = async (): Promise<unknown> => ((await first.stored("volume", volume, "status/agent")) as { state: string } | null)?.state;

  it("is not spoken for by the first one's late writes", async () => {
    const before = await first.agent(host);
    hold();
    before.say({ type: "report", sequence: 1, parts: [seen("creating")] });
    await settle();
    const after = await second.agent(host);
    assert.deepEqual(await after.report(seen("ready")), []);
    release();
    await until("the first connection to be ended", () => before.closed !== null);
    assert.equal(before.closed?.code, 4001);
    assert.equal(await state(), "ready");
    assert.deepEqual(before.of("reported"), [], "what is not written is not answered");
  });

  it("is not spoken for by what the first one tries again when it has the store back", async () => {
    const before = await first.agent(host);
    held = Promise.reject(new StoreError("unavailable", "away"));
    held.catch(() => {});
    before.say({ type: "report", sequence: 1, parts: [seen("creating")] });
    await settle();
    await (await second.agent(host)).report(seen("ready"));
    held = null;
    await first.clock.advance(200);
    await until("the first connection to be ended", () => before.closed !== null);
    assert.equal(await state(), "ready");
  });

  it("may come back to the first, which writes for it again", async () => {
    await (await first.agent(host)).report(seen("creating"));
    await (await second.agent(host)).report(seen("ready"));
    const again = await first.agent(host);
    assert.deepEqual(await again.report(seen("failed")), []);
    assert.equal(await state(), "failed");
  });

  it("costs a server that is alone no write", async () => {
    first.setServers(["https://a"]);
    const agent = await first.agent(host);
    await agent.report(seen("creating"));
    assert.equal(await first.store.get(attachmentKey(host)), null);
    assert.equal(await state(), "creating");
    // Another one joins, and the agent goes there.
    await (await second.agent(host)).report(seen("ready"));
    agent.say({ type: "report", sequence: 9, parts: [seen("creating")] });
    await until("the first connection to be ended", () => agent.closed !== null);
    assert.equal(await state(), "ready");
  });
});
