/** A server's store moves from SQLite to a real etcd and back, and backups of either are restored: with the programs that people run. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { freePorts, startEtcd } from "@sheaf/lab";
import { localClient, type LocalClient } from "./deployment/local-client.ts";
import { startServerProcess } from "./deployment/server-process.ts";

const cluster = await startEtcd();
const root = await mkdtemp(join(tmpdir(), "sheaf-move-"));
after(async () => {
  await cluster.dispose();
  await rm(root, { recursive: true, force: true });
});
const etcd = `etcd://${cluster.endpoints.join(",")}/site/`;

/** @returns what it printed, and its exit code */
function program(name: string, ...words: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, name), ...words],
      { timeout: 60_000 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr }),
    );
  });
}

async function withServer<Value>(data: string, words: readonly string[], work: (client: LocalClient) => Promise<Value>): Promise<Value> {
  const [port = 0, agentPort = 0] = await freePorts(2);
  const server = await startServerProcess({ dataDirectory: data, port, agentPort, names: ["127.0.0.1"], arguments: words });
  try {
    const client = await localClient(data, server);
    try {
      return await work(client);
    } finally {
      client.close();
    }
  } finally {
    await server.stop();
  }
}

const projects = async (client: LocalClient): Promise<string[]> => {
  const { items } = await client.project.list({ query: { limit: 100 } });
  return items.map(({ name }) => name).sort();
};
const create = (client: LocalClient, name: string) => client.project.create({ body: { name, spec: {} } });

test("SQLite to etcd and back, backups of either restored into either", { timeout: 300_000 }, async () => {
  const data = join(root, "one");
  await withServer(data, [], async (client) => void (await create(client, "born-in-sqlite")));
  assert.match(
    (await program("migrate-store.ts", "--data", data, "--from", "sqlite", "--to", "etcd://127.0.0.1:1/x/")).output,
    /was not moved.*etcd/,
  );
  assert.ok(existsSync(join(data, "store.sqlite")), "a failed move changes nothing");

  const there = await program("migrate-store.ts", "--data", data, "--from", "sqlite", "--to", etcd);
  assert.equal(there.code, 0, there.output);
  assert.match(there.output, /Moved \d+ keys/);
  assert.ok(!existsSync(join(data, "store.sqlite")), "nobody starts from the old file by mistake");
  assert.ok((await readdir(data)).some((name) => name.startsWith("store.sqlite.moved-")));

  // The folder remembers the place. A running server's store is not moved, and not restored.
  const backup = await withServer(data, [], async (client) => {
    assert.deepEqual(await projects(client), ["born-in-sqlite", "default"]);
    await create(client, "born-in-etcd");
    const { file } = await client.system.backup();
    await create(client, "after-the-backup");
    const busy = await program("migrate-store.ts", "--data", data, "--from", etcd, "--to", "sqlite");
    assert.match(busy.output, /a server is running/);
    assert.match((await program("restore.ts", "--data", data, file)).output, /a server is running/);
    return file;
  });

  const restored = await program("restore.ts", "--data", data, backup);
  assert.equal(restored.code, 0, restored.output);
  const before = /lies in (\S+)\.\n/.exec(restored.output)?.[1];
  assert.ok(before !== undefined && existsSync(before), restored.output);
  await withServer(data, [], async (client) => {
    assert.deepEqual(await projects(client), ["born-in-etcd", "born-in-sqlite", "default"]);
    const { intact, problems } = await client.audit.verify();
    assert.ok(intact, problems.join("; "));
  });

  const back = await program("migrate-store.ts", "--data", data, "--from", etcd, "--to", "sqlite");
  assert.equal(back.code, 0, back.output);
  const stale = join(root, "stale");
  await assert.rejects(
    withServer(stale, ["--store", etcd], async () => {}),
    /moved elsewhere/,
  );
  await withServer(data, [], async (client) => assert.deepEqual(await projects(client), ["born-in-etcd", "born-in-sqlite", "default"]));

  // What was set aside of etcd is a backup like any other: into SQLite too.
  assert.equal((await program("restore.ts", "--data", data, before)).code, 0);
  await withServer(data, [], async (client) =>
    assert.deepEqual(await projects(client), ["after-the-backup", "born-in-etcd", "born-in-sqlite", "default"]),
  );
  // A place that was moved away may be moved to again.
  assert.equal((await program("migrate-store.ts", "--data", data, "--from", "sqlite", "--to", etcd)).code, 0);
  await withServer(data, [], async (client) => assert.equal((await projects(client)).length, 4));
});

test("an empty store never stands in for a full one by mistake", { timeout: 120_000 }, async () => {
  const data = join(root, "two");
  await withServer(data, [], async () => {});
  await assert.rejects(
    withServer(data, ["--store", `etcd://${cluster.endpoints[0]}/other/`], async () => {}),
    /sheaf store migrate/,
  );
  const other = join(root, "three");
  await withServer(other, ["--store", `etcd://${cluster.endpoints[0]}/three/`], async () => {});
  await assert.rejects(
    withServer(other, ["--store", "sqlite"], async () => {}),
    /sheaf store migrate/,
  );
});
