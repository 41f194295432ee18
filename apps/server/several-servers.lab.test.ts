/** Two server processes on a real etcd: one joins the other, any answers, the lead passes on, a third cannot take a name that is there. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { freePorts, startEtcd } from "@sheaf/lab";
import { clientWith, localClient, type LocalClient } from "./deployment/local-client.ts";
import { until } from "./deployment/processes.ts";
import { startServerProcess, type ServerProcess } from "./deployment/server-process.ts";

const cluster = await startEtcd({ tls: true });
const root = await mkdtemp(join(tmpdir(), "sheaf-several-"));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.kill()));
  await cluster.dispose();
  await rm(root, { recursive: true, force: true });
});
const { tls } = cluster;
assert.ok(tls);
const etcd = `etcds://${cluster.endpoints.join(",")}/site/?ca=${tls.authority}&cert=${tls.certificate}&key=${tls.key}`;

async function start(name: string, words: readonly string[]): Promise<ServerProcess> {
  const [port = 0, agentPort = 0] = await freePorts(2);
  const server = await startServerProcess({
    dataDirectory: join(root, name),
    port,
    agentPort,
    names: ["127.0.0.1"],
    arguments: ["--server-name", name, ...words],
  });
  running.add(server);
  return server;
}

const leaderOf = async (client: LocalClient): Promise<string | undefined> => (await client.server.list()).servers.find(({ leads }) => leads)?.name;
const create = (client: LocalClient, name: string) => client.project.create({ body: { name, spec: {} } });

test("a second server joins by its line; each answers for both; when the leader is killed the other leads", { timeout: 180_000 }, async (t) => {
  const a = await start("a", ["--store", etcd]);
  const first = await localClient(join(root, "a"), a);
  const line = (await first.server.invite({ body: {} })).command.split(" ");
  const words = line.slice(line.indexOf("--join"), line.indexOf("--server-name"));
  const b = await start("b", words);
  assert.equal(b.caFingerprint, a.caFingerprint);
  await assert.rejects(start("c", words), /not valid: it was used/);
  const second = await clientWith(join(root, "b"), b, first.sessionToken);

  // A write here is read there, at least at its revision.
  const made = await create(first, "shop");
  const seen = await second.project.get({ params: { id: "shop" }, query: { revision: made.record.revision } });
  assert.equal(seen.id, made.record.id);
  const { servers } = await second.server.list();
  assert.deepEqual(
    servers.map(({ name, present, leads }) => [name, present, leads]),
    [
      ["a", true, true],
      ["b", true, false],
    ],
  );
  await assert.rejects(second.server.delete({ params: { name: "a" } }), { code: "state-refused" });

  // Writes go on at the other server; the lead passes on.
  let acknowledged = 0;
  const state = { stop: false };
  const writing = (async () => {
    for (let number = 1; !state.stop; number += 1) {
      await create(second, `p-${number}`);
      acknowledged = number;
    }
  })();
  await until("some writes", 20_000, () => acknowledged > 5 || undefined);
  await a.kill();
  running.delete(a);
  const killedAt = performance.now();
  await until("the other server's lead", 30_000, async () => (await leaderOf(second)) === "b" || undefined);
  const tookMs = performance.now() - killedAt;
  state.stop = true;
  await writing;
  const { total } = await second.project.list({ query: { limit: 1 } });
  assert.ok(total >= acknowledged + 2, `${acknowledged} writes were acknowledged, ${total} projects are there`);

  // A name is one server's; a killed server comes back at once under its own.
  await until("the killed server's absence", 30_000, async () => {
    const { servers: now } = await second.server.list();
    return now.find(({ name }) => name === "a")?.present === false || undefined;
  });
  const again = await start("a", []);
  const back = await clientWith(join(root, "a"), again, first.sessionToken);
  assert.equal(await leaderOf(back), "b");
  await again.stop();
  running.delete(again);
  await second.server.delete({ params: { name: "a" } });
  assert.deepEqual(
    (await second.server.list()).servers.map(({ name }) => name),
    ["b"],
  );
  const { intact, problems } = await second.audit.verify();
  assert.ok(intact, problems.join("; "));
  assert.match(await readFile(join(root, "b/store-address"), "utf8"), /\?ca=keys\/etcd-ca.pem/);
  for (const client of [first, second, back]) client.close();
  t.diagnostic(`the other server led ${Math.round(tookMs)} ms after the kill`);
});
