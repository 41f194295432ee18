/**
 * High availability on real hosts: power that is really cut, real guests that answer again elsewhere, management controllers that speak
 * IPMI and Redfish and fail as such things do.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { bmcPassword, bmcUser, type GuestWatch, IpmiBmc, PowerControl, RedfishBmc } from "@sheaf/lab";
import { until } from "../apps/server/deployment/processes.ts";
import { copies } from "./copies.ts";
import { askGuest, guestAnswers } from "./guest.ts";
import { openSite, type Site } from "./site.ts";

interface Bmc {
  readonly ipmi: IpmiBmc;
  readonly ipmiPower: PowerControl;
  readonly redfish: RedfishBmc;
  readonly redfishPower: PowerControl;
}
interface Machine {
  readonly id: string;
  readonly name: string;
  readonly spec: { readonly nics: readonly { readonly addresses: readonly string[] }[] };
  readonly placement?: { readonly host: string; readonly epoch: number; readonly at: number };
  readonly status: {
    readonly agent?: { readonly startedAt?: number };
    readonly failover?: { readonly state: string; readonly reason: string; readonly task?: string };
  };
}
interface Host {
  readonly id: string;
  readonly name: string;
  readonly status: {
    readonly liveness?: { readonly state: string };
    readonly fencing?: {
      readonly state: string;
      readonly reason: string;
      readonly attempts: readonly { method: string; outcome: string; detail: string }[];
    };
  };
}

let site: Site;
const bmcs = new Map<string, Bmc>();
let watching: GuestWatch;

before(
  async () => {
    site = await openSite({ hosts: 3, port: 17_843 });
    for (const [name, { host }] of site.deployment.hosts) {
      const on = () => site.deployment.powerOn(name);
      const [ipmiPower, redfishPower] = [new PowerControl({ host, on }), new PowerControl({ host, on })];
      bmcs.set(name, { ipmiPower, redfishPower, ipmi: await IpmiBmc.start(ipmiPower), redfish: await RedfishBmc.start(redfishPower) });
      await configure(name);
    }
    watching = await site.deployment.lab.watchGuests();
  },
  { timeout: 240_000 },
);
after(
  async () => {
    watching?.stop();
    for (const { ipmi, redfish } of bmcs.values()) await Promise.all([ipmi.stop(), redfish.stop()]);
    await site?.close();
  },
  { timeout: 120_000 },
);

async function configure(name: string): Promise<void> {
  const { ipmi, redfish } = bmc(name);
  const login = { address: "127.0.0.1", user: bmcUser, password: bmcPassword };
  await site.deployment.client.host.change({
    params: { id: name },
    body: {
      spec: {
        fencing: [
          { type: "ipmi", ...login, port: ipmi.port, cipherSuite: 3, timeoutMs: 5000 },
          { type: "redfish", ...login, port: redfish.port, certificateFingerprint: redfish.fingerprint, timeoutMs: 5000 },
        ],
      },
    },
  });
}

function bmc(name: string): Bmc {
  const found = bmcs.get(name);
  if (!found) throw new Error(`host ${name} has no management controller`);
  return found;
}

// The API's records.
const machine = async (name: string): Promise<Machine> => JSON.parse(await site.must("-o", "json", "vm", "show", name)) as Machine;
const hosts = async (): Promise<Host[]> => JSON.parse(await site.must("-o", "json", "host", "list")) as Host[];
const hostOf = async (of: Machine): Promise<string> => (await hosts()).find((host) => host.id === of.placement?.host)?.name ?? "";
const hostNamed = async (name: string): Promise<Host | undefined> => (await hosts()).find((host) => host.name === name);
const addressOf = (of: Machine): string => of.spec.nics[0]?.addresses[0] ?? "none";

async function create(name: string, ...words: string[]): Promise<{ machine: Machine; host: string; bootId: string }> {
  await site.must("vm", "create", name, "--image", "mini", "--memory", "128MiB", "--pool", "shared", "--highly-available", ...words, "--wait");
  const made = await machine(name);
  return { machine: made, host: await hostOf(made), bootId: (await guestAnswers(addressOf(made))).bootId };
}

/** @returns ms until it answers with another boot */
async function answersAnew(of: Machine, bootId: string, since: number): Promise<number> {
  await until(`${of.name} to answer anew`, 90_000, async () => {
    const answer = await askGuest(addressOf(of));
    return answer !== undefined && answer.bootId !== bootId ? true : undefined;
  });
  return performance.now() - since;
}

async function back(name: string): Promise<void> {
  await site.deployment.powerOn(name);
  await letIn(name);
}

test(
  "a host loses its power: its machine answers again elsewhere, once; the host comes back and starts nothing that was moved",
  { timeout: 240_000 },
  async () => {
    const { machine: web, host, bootId } = await create("web");
    const cutAt = performance.now();
    await site.deployment.hosts.get(host)?.host.kill();
    const outageMs = await answersAnew(web, bootId, cutAt);
    const moved = await machine("web");
    assert.notEqual(await hostOf(moved), host);
    assert.equal(moved.placement?.epoch, (web.placement?.epoch ?? 0) + 1);
    assert.equal(moved.status.failover?.state, "moved");
    const task = JSON.parse(await site.must("-o", "json", "task", "show", moved.status.failover?.task ?? "")) as {
      state: string;
      spec: { verb: string };
    };
    assert.deepEqual([task.spec.verb, task.state], ["recover", "succeeded"]);
    assert.equal((await hostNamed(host))?.status.fencing?.state, "fenced");
    process.stdout.write(`the outage took ${Math.round(outageMs)} ms, the guest's boot included\n`);
    await back(host);
    assert.deepEqual((await copies(site.deployment)).get(web.id), [await hostOf(moved)]);
    await site.must("vm", "delete", "web", "--wait");
  },
);

test("of two machines of a lost host, which stay together, the application is started when the database runs", { timeout: 240_000 }, async () => {
  const database = await create("database");
  const together = { placement: { together: "stack" } };
  await site.deployment.client.vm.change({ params: { id: "database" }, body: { spec: together } });
  await site.deployment.client.vm.create({
    body: {
      name: "application",
      spec: {
        ...together,
        highlyAvailable: true,
        priority: 900,
        memory: { bytes: 128 * 2 ** 20 },
        disks: [{ name: "root", image: "mini", pool: "shared" }],
        nics: [{ name: "net0", network: "default" }],
        restart: { after: { machines: ["database"] } },
      },
    },
  });
  const { bootId } = await guestAnswers(addressOf(await machine("application")));
  const application = await machine("application");
  assert.equal(await hostOf(application), database.host);
  const cutAt = performance.now();
  await site.deployment.hosts.get(database.host)?.host.kill();
  await answersAnew(database.machine, database.bootId, cutAt);
  await answersAnew(application, bootId, cutAt);
  const [first, second] = [await machine("database"), await machine("application")];
  assert.equal(await hostOf(second), await hostOf(first));
  assert.notEqual(await hostOf(first), database.host);
  const waitedMs = (second.placement?.at ?? 0) - (first.placement?.at ?? 0);
  assert.ok((second.placement?.at ?? 0) >= (first.status.agent?.startedAt ?? Infinity), `it was placed ${waitedMs} ms after the database`);
  process.stdout.write(`the application was started ${waitedMs} ms after the database\n`);
  await back(database.host);
  await site.must("vm", "delete", "application", "database", "--wait");
});

test("a frozen host is cut off by the second method when the first one hangs", { timeout: 240_000 }, async () => {
  const { machine: shop, host, bootId } = await create("shop");
  bmc(host).ipmi.hang();
  await site.deployment.hosts.get(host)?.host.freeze();
  await answersAnew(shop, bootId, performance.now());
  const fencing = (await hostNamed(host))?.status.fencing;
  assert.equal(fencing?.state, "fenced");
  assert.deepEqual(
    fencing.attempts.map(({ method, outcome }) => [method, outcome]),
    [
      ["ipmi 127.0.0.1", "failed"],
      ["redfish 127.0.0.1", "off"],
    ],
  );
  assert.equal(await site.deployment.hosts.get(host)?.host.state(), "off", "it is really off");
  bmc(host).ipmi.goOn();
  await back(host);
  await site.must("vm", "delete", "shop", "--wait");
});

test("controllers that do nothing are not believed: the machine waits, and a person's word lets it go", { timeout: 240_000 }, async () => {
  const { machine: bank, host, bootId } = await create("bank");
  const { ipmiPower, redfishPower } = bmc(host);
  ipmiPower.fault = "idle";
  redfishPower.fault = "idle";
  // It hangs, its guest with it: as far as anybody can see it may go on at any moment.
  await site.deployment.hosts.get(host)?.host.freeze();
  const asking = await until("a person to be asked", 60_000, async () => {
    const fencing = (await hostNamed(host))?.status.fencing;
    return fencing?.state === "asking" ? fencing : undefined;
  });
  assert.match(asking.reason, /no method could make sure that it is off/);
  assert.deepEqual((await copies(site.deployment)).get(bank.id), [host], "it runs where it was, and nowhere else");
  const refused = await site.sheaf("host", "confirm-off", (await hosts()).find(({ name }) => name !== host)?.name ?? "");
  assert.equal(refused.code, 4);
  assert.match(refused.error, /its agent is connected, so it is not off/);
  // Somebody goes there and pulls the plug.
  await site.deployment.hosts.get(host)?.host.kill();
  await site.must("host", "confirm-off", host, "--wait");
  await answersAnew(bank, bootId, performance.now());
  ipmiPower.fault = undefined;
  redfishPower.fault = undefined;
  await back(host);
  await site.must("vm", "delete", "bank", "--wait");
});

const held = (name: string) =>
  until(`host ${name} to be left alone`, 60_000, async () => {
    const fencing = (await hostNamed(name))?.status.fencing;
    return fencing?.state === "held" ? fencing : undefined;
  });

const letIn = (name: string) =>
  until(`host ${name} to be let in`, 60_000, async () => {
    const host = await hostNamed(name);
    return host?.status.liveness?.state === "ready" && host.status.fencing === undefined ? true : undefined;
  });

test("an agent that hangs is told and nothing is cut off: its guest runs on", { timeout: 240_000 }, async () => {
  const { machine: desk, host, bootId } = await create("desk");
  const agent = site.deployment.hosts.get(host)?.agent;
  agent?.child.kill("SIGSTOP");
  assert.match((await held(host)).reason, /its pulse is heard, its agent hangs/);
  assert.equal((await guestAnswers(addressOf(desk))).bootId, bootId);
  agent?.child.kill("SIGCONT");
  await letIn(host);
  assert.deepEqual((await copies(site.deployment)).get(desk.id), [host]);
  await site.must("vm", "delete", "desk", "--wait");
});

test("a host whose network is cut is seen to live in the shared pool: its guest is left alone", { timeout: 240_000 }, async () => {
  const { machine: lake, host, bootId } = await create("lake");
  await site.deployment.hosts.get(host)?.host.cut();
  assert.match((await held(host)).reason, /sees its pulse in pool shared, so its network is cut/);
  assert.deepEqual((await copies(site.deployment)).get(lake.id), [host]);
  await site.deployment.hosts.get(host)?.host.join();
  await letIn(host);
  assert.equal((await guestAnswers(addressOf(lake))).bootId, bootId);
  await site.must("vm", "delete", "lake", "--wait");
});

test("a server that is killed while a host is lost finishes the fail-over when it is back", { timeout: 240_000 }, async () => {
  const { machine: mail, host, bootId } = await create("mail");
  await site.deployment.hosts.get(host)?.host.kill();
  await until("the loss to be noticed", 60_000, async () => ((await hostNamed(host))?.status.liveness?.state === "unreachable" ? true : undefined));
  await site.deployment.server.kill();
  await site.deployment.startServer();
  await site.signIn();
  await answersAnew(mail, bootId, performance.now());
  await back(host);
  await site.must("vm", "delete", "mail", "--wait");
});

test("at no moment did a machine run twice", () => {
  assert.ok(watching.looks > 0, "the processes were looked at");
  assert.deepEqual(watching.violations, []);
});
