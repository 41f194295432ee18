/** The main flow on real hosts: created, seen booting, moved while running, broken and found again, removed without a trace. */
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { GUEST_IMAGE_CACHE } from "@sheaf/lab";
import { until } from "../apps/server/deployment/processes.ts";
import { copies, nothingIsLeft } from "./copies.ts";
import { guestAnswers, watchGuest } from "./guest.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
before(
  async () => {
    site = await openSite({ hosts: 3, port: 17_443 });
  },
  { timeout: 180_000 },
);
after(() => site?.close(), { timeout: 60_000 });

interface Machine {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly spec: { readonly nics: readonly { readonly addresses: readonly string[] }[] };
  readonly placement?: { readonly host: string; readonly epoch: number };
}

const machine = async (name: string): Promise<Machine> => JSON.parse(await site.must("-o", "json", "vm", "show", name)) as Machine; // the API's record
const addressOf = (of: Machine): string => of.spec.nics[0]?.addresses[0] ?? "none";

const running = (): Promise<Map<string, string[]>> => copies(site.deployment);

test("six machines run on three hosts, each under its own name", { timeout: 240_000 }, async () => {
  await site.must("vm", "create", "web", "--image", "mini", "--memory", "128MiB", "--count", "6", "--label", "tier=web", "--wait");
  const machines = await Promise.all(["01", "02", "03", "04", "05", "06"].map((number) => machine(`web-${number}`)));
  for (const each of machines) {
    assert.equal(each.state, "running");
    assert.equal((await guestAnswers(addressOf(each))).hostname, each.name);
  }
  assert.equal(new Set(machines.map((each) => each.placement?.host)).size, 3, "all three hosts are used");
  const copies = await running();
  for (const each of machines) assert.equal(copies.get(each.id)?.length, 1, `${each.name} runs once`);
});

for (const storage of ["its host's own", "shared"] as const) {
  test(`a machine on ${storage} storage moves to another host while a client asks it, and does not notice`, { timeout: 180_000 }, async () => {
    const name = storage === "shared" ? "roamer" : "web-01";
    if (storage === "shared") await site.must("vm", "create", name, "--image", "mini", "--memory", "128MiB", "--pool", "shared", "--wait");
    const before = await machine(name);
    const first = await guestAnswers(addressOf(before));
    const client = watchGuest(addressOf(before));
    await site.must("vm", "migrate", name, "--wait");
    await until("answers after the move", 20_000, async () =>
      (await guestAnswers(addressOf(before))).counter > first.counter + 5 ? true : undefined,
    );
    const { answers, longestGapMs } = await client.stop();
    const moved = await machine(name);
    assert.notEqual(moved.placement?.host, before.placement?.host);
    assert.equal(moved.placement?.epoch, (before.placement?.epoch ?? 0) + 1);
    assert.ok(
      answers.every(({ status }) => status.bootId === first.bootId),
      "the guest did not boot again",
    );
    const counters = answers.toSorted((a, b) => a.status.uptimeSeconds - b.status.uptimeSeconds).map(({ status }) => status.counter);
    assert.ok(
      counters.every((value, index) => index === 0 || value >= (counters[index - 1] ?? 0)),
      "the counter only grows",
    );
    assert.ok(longestGapMs <= 1000, `the longest gap was ${Math.round(longestGapMs)} ms`);
    assert.deepEqual((await running()).get(before.id)?.length, 1);
    const tasks = JSON.parse(await site.must("-o", "json", "task", "list", "--filter", "spec.verb=migrate")) as {
      spec: { target: { id: string } };
      status: { controller?: { result?: { downtimeMs?: number } } };
    }[]; // the API's records
    const downtimeMs = tasks.find((task) => task.spec.target.id === before.id)?.status.controller?.result?.downtimeMs;
    assert.ok(typeof downtimeMs === "number" && downtimeMs > 0 && downtimeMs < 1000, `the downtime is told: ${downtimeMs}`);
  });
}

test("machines are made from an image of a file and from one of a URL", { timeout: 180_000 }, async () => {
  const file = join(GUEST_IMAGE_CACHE, "mini.qcow2");
  const web = createServer((_request, response) => void createReadStream(file).pipe(response));
  await new Promise<void>((resolve) => web.listen(0, `${site.deployment.options.subnet}.1`, resolve));
  try {
    const { port } = web.address() as AddressInfo; // it listens on TCP
    await site.must("image", "import", "from-file", file, "--wait");
    await site.must("image", "import", "from-url", `http://${site.deployment.options.subnet}.1:${port}/mini.qcow2`, "--wait");
  } finally {
    web.close();
  }
  for (const name of ["from-file", "from-url"]) {
    await site.must("vm", "create", name, "--image", name, "--memory", "128MiB", "--wait");
    assert.equal((await guestAnswers(addressOf(await machine(name)))).hostname, name);
    await site.must("vm", "delete", name, "--wait");
    await site.must("image", "delete", name, "--wait");
  }
});

test("kill -9 of server, agent and libvirtd stops no guest, and each finds its state again", { timeout: 180_000 }, async () => {
  const { deployment } = site;
  const boots = new Map<string, string>();
  for (const number of ["01", "02", "03"]) {
    const each = await machine(`web-${number}`);
    boots.set(addressOf(each), (await guestAnswers(addressOf(each))).bootId);
  }
  await deployment.server.kill();
  for (const { agent } of deployment.hosts.values()) await agent.kill();
  for (const { host } of deployment.hosts.values()) await host.restartLibvirtd("SIGKILL");
  await deployment.startServer();
  for (const name of deployment.hosts.keys()) await deployment.startAgent(name);
  await deployment.ready();
  await site.signIn();
  for (const [address, bootId] of boots) assert.equal((await guestAnswers(address)).bootId, bootId);
  await until("all machines as running", 30_000, async () =>
    (await Promise.all([...boots.keys()].map((_, index) => machine(`web-0${index + 1}`)))).every((each) => each.state === "running")
      ? true
      : undefined,
  );
  for (const copies of (await running()).values()) assert.equal(copies.length, 1);
});

test("a host whose power was off starts its machines again, once", { timeout: 180_000 }, async () => {
  const { deployment } = site;
  const victim = await machine("web-02");
  const names = new Map(
    (JSON.parse(await site.must("-o", "json", "host", "list")) as { id: string; name: string }[]).map((host) => [host.id, host.name]),
  ); // the API's records
  const hostName = names.get(victim.placement?.host ?? "") ?? "";
  const bootId = (await guestAnswers(addressOf(victim))).bootId;
  await deployment.hosts.get(hostName)?.host.kill();
  await until("the host as unreachable", 60_000, async () =>
    (JSON.parse(await site.must("-o", "json", "host", "show", hostName)) as { status: { liveness: { state: string } } }).status.liveness.state ===
    "unreachable"
      ? true
      : undefined,
  );
  await deployment.powerOn(hostName);
  const again = await guestAnswers(addressOf(victim));
  assert.notEqual(again.bootId, bootId);
  assert.equal(again.hostname, "web-02");
  for (const copies of (await running()).values()) assert.equal(copies.length, 1);
});

test("what fits nowhere waits with its reason", { timeout: 60_000 }, async () => {
  await site.must("vm", "create", "giant", "--image", "mini", "--memory", "1TiB");
  const reason = await until(
    "the reason",
    20_000,
    async () =>
      (JSON.parse(await site.must("-o", "json", "vm", "show", "giant")) as { status: { placement?: { pending?: { reason: string } } } }).status
        .placement?.pending?.reason,
  );
  assert.match(reason, /^no host fits: 3 lack memory \(largest free [\d.]+ [GM]iB\)/);
  await site.must("vm", "delete", "giant", "--wait");
});

test("removal leaves no domain, disk or address", { timeout: 120_000 }, async () => {
  const { deployment } = site;
  await site.must("vm", "delete", "--all", "--wait");
  assert.deepEqual(JSON.parse(await site.must("-o", "json", "vm", "list")), []);
  await nothingIsLeft(deployment);
  assert.deepEqual(await readdir(join(deployment.lab.sharedDirectory, "sheaf", "volumes")).catch(() => []), []);
  assert.equal(JSON.parse(await site.must("-o", "json", "audit", "verify")).intact, true);
});
