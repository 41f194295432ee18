import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createClient, type HttpRequest } from "@sheaf/client";
import { SheafError } from "@sheaf/model";
import type { Command } from "commander";
import type { Cli, GlobalOptions } from "./cli.ts";
import { numberedNames } from "./commands/arguments.ts";
import { chooseConnection, readConfig, writeConfig } from "./config-file.ts";
import { difference } from "./difference.ts";
import { width } from "./output.ts";
import { reportProblem } from "./problem-report.ts";
import { buildProgram } from "./program.ts";
import { progressLine } from "./terminal.ts";

/** Runs one command line against scripted answers; what it sent and wrote comes back. */
async function run(argv: string[], answer: (request: HttpRequest) => unknown, files: Record<string, string> = {}) {
  const requests: HttpRequest[] = [];
  const out: string[] = [];
  const cliOf = (program: Command): Cli => ({
    terminal: {
      out: (text) => out.push(text),
      note() {},
      progress() {},
      colors: false,
      interactive: false,
      ask: () => Promise.reject(new Error("asked")),
    },
    options: () => program.opts<GlobalOptions>(),
    connection: () => Promise.resolve({ url: "https://test:7443" }),
    client: () =>
      Promise.resolve(
        createClient({
          transport: async (request) => {
            requests.push(request);
            const result = answer(request);
            return result === undefined
              ? { status: 404, headers: {}, text: '{"code":"not-found","detail":"There is none."}' }
              : { status: 200, headers: {}, text: JSON.stringify(result) };
          },
        }),
      ),
    readFile: async (path) => files[path] ?? Promise.reject(new SheafError("invalid-input", `no ${path}`)),
    environment: {},
    newKey: () => "key",
    interrupted: new AbortController().signal,
  });
  await buildProgram(cliOf, () => 100_000).parseAsync(["node", "sheaf", ...argv]);
  return { requests, out: out.join("\n") };
}

const record = (name: string, spec: object = {}) => ({ kind: "vm", id: `id-${name}`, name, labels: {}, specRevision: 7, spec, status: {} });

test("machines made together are numbered, one alone is not", () => {
  assert.deepEqual(numberedNames("web", 1), ["web"]);
  assert.deepEqual(numberedNames("web", 3), ["web-01", "web-02", "web-03"]);
  assert.equal(numberedNames("web", 100)[99], "web-100");
});

test("vm create sends one creation a machine, each with a key of its own", async () => {
  const { requests } = await run(
    ["vm", "create", "web", "--image", "mini", "--memory", "128MiB", "--count", "3", "--label", "tier=web", "-p", "shop"],
    (request) => (request.method === "POST" ? { record: record(JSON.parse(request.body ?? "").name) } : { items: [] }),
  );
  const created = requests.filter((request) => request.method === "POST");
  assert.deepEqual(
    created.map((request) => JSON.parse(request.body ?? "").name),
    ["web-01", "web-02", "web-03"],
  );
  assert.equal(created[0]?.path, "/api/v1/vms?project=shop");
  assert.equal(created[0]?.headers["idempotency-key"], "key");
  const body = JSON.parse(created[0]?.body ?? "");
  assert.equal(body.spec.memory.bytes, 128 * 2 ** 20);
  assert.deepEqual(body.labels, { tier: "web" });
});

test("vm create sends wishes for GPUs and PCI devices", async () => {
  const wishes = [
    "--gpus",
    "2",
    "--gpu-model",
    "A10",
    "--gpu-model",
    "L4",
    "--gpu-memory",
    "24GiB",
    "--pci",
    "fast-nic*2",
    "--pci",
    "8086:1572",
    "--pci",
    "class=0200",
  ];
  const { requests } = await run(["vm", "create", "web", ...wishes], (request) =>
    request.method === "POST" ? { record: record("web") } : { items: [] },
  );
  const { spec } = JSON.parse(requests.find((request) => request.method === "POST")?.body ?? "");
  assert.deepEqual(spec.gpus, { count: 2, models: ["A10", "L4"], minimumMemoryBytes: 24 * 2 ** 30 });
  assert.deepEqual(spec.pciDevices, [
    { label: "fast-nic", count: 2 },
    { vendor: "8086", product: "1572", count: 1 },
    { class: "0200", count: 1 },
  ]);
});

test("vm create sends what is said of neighbours as rules", async () => {
  const asked = [
    "--apart",
    "web/rack",
    "--apart",
    "web/zone:10",
    "--prefer-together",
    "db",
    "--neighbours",
    "noisy",
    "--licence",
    "oracle",
    "--preemptible",
  ];
  const { requests } = await run(["vm", "create", "web", ...asked], (request) =>
    request.method === "POST" ? { record: record("web") } : { items: [] },
  );
  const body = JSON.parse(requests.find((request) => request.method === "POST")?.body ?? "");
  assert.deepEqual(body.spec.placement, {
    rules: [
      { group: "web", keep: "apart", within: "rack", preferred: false },
      { group: "web", keep: "apart", within: "zone", limit: 10, preferred: false },
      { group: "db", keep: "together", within: "host", preferred: true },
    ],
    neighbours: "noisy",
    licences: ["oracle"],
    preemptible: true,
  });
});

test("vm create --gang tells all machines how many belong together", async () => {
  const { requests } = await run(["vm", "create", "job", "--count", "2", "--gang"], (request) =>
    request.method === "POST" ? { record: record(JSON.parse(request.body ?? "").name) } : { items: [] },
  );
  const gangs = requests.filter(({ method }) => method === "POST").map(({ body }) => JSON.parse(body ?? "").spec.placement.gang);
  assert.deepEqual(gangs, [
    { name: "job-key", size: 2 },
    { name: "job-key", size: 2 },
  ]);
});

test("availability shows site, projects and what was down; a share that is nearly whole is never rounded up to it", async () => {
  const figures = { upMs: 0, downMs: 0, offMs: 0, unknownMs: 0, causes: {}, percent: 99.999_999, lowestPercent: 0 };
  const machine = { ...figures, id: "1", name: "web", project: "p", state: "up", since: 1, outages: [] };
  const down = { ...machine, name: "db", downMs: 61_000, causes: { crash: { count: 2, ms: 61_000 } } };
  const { out, requests } = await run(["availability", "--month", "2026-11"], () => ({
    month: "2026-11",
    from: 1,
    to: 2,
    site: { machines: 2, ...figures },
    projects: [{ id: "p", name: "shop", targetPercent: 99.99, met: true, machines: 2, ...figures }],
    machines: [down, machine],
  }));
  assert.equal(requests[0]?.path, "/api/v1/availability?month=2026-11&limit=20");
  assert.match(out, /^site +99\.9999 %/m);
  assert.match(out, /^project shop +99\.9999 % +99\.99 % +yes/m);
  assert.match(out, /^machine db .*1 min 1 s .*2 crash 1 min 1 s$/m);
  assert.doesNotMatch(out, /machine web/);
});

const outlook = { hosts: 3, cpuPercent: 40, memoryPercent: 91, fullestPercent: 96, spreadPoints: 4 };

test("plan add-hosts shows before and after, who gets a place, and who waits on", async () => {
  const { out, requests } = await run(["plan", "add-hosts", "2", "--like", "h1", "--memory", "64GiB", "--machine-cpus", "4"], () => ({
    ...{
      cluster: "default",
      host: { like: "h1", cpus: 8, memoryBytes: 64 * 2 ** 30 },
      before: outlook,
      after: { ...outlook, hosts: 5, memoryPercent: 60 },
    },
    ...{
      placedCount: 1,
      placed: [{ vm: "1", name: "web", host: "new-1" }],
      waitingCount: 1,
      waiting: [{ vm: "2", name: "db", why: "no host fits" }],
    },
    room: { before: 0, after: 12, more: false },
  }));
  assert.equal(requests[0]?.path, "/api/v1/plans/host-addition?count=2&like=h1&memoryBytes=68719476736&machineCpus=4");
  assert.match(out, /^ {2}memory promised: 91 % → 60 %$/m);
  assert.match(out, /^More machines of that size: 0 now, 12 then\.$/m);
  assert.match(out, /^web +new-1$/m);
  assert.match(out, /^db +no host fits$/m);
});

test("plan remove-host shows where machines go, and what stays", async () => {
  const failOver = (spareMemoryBytes: number) => ({ failOver: { hosts: 3, toleratedHostFailures: 1, spareMemoryBytes } });
  const { out, requests } = await run(["plan", "remove-host", "h3", "h4"], () => ({
    clusters: [{ cluster: "default", before: { ...outlook, ...failOver(2 ** 30) }, after: { ...outlook, hosts: 1, ...failOver(-(2 ** 31)) } }],
    ...{ moveCount: 1, moves: [{ vm: "1", name: "web", from: "h3", to: "h1" }], stuckCount: 1, moving: 0 },
    stuck: [{ vm: "2", name: "db", from: "h4", why: "no host can take it" }],
  }));
  assert.equal(requests[0]?.path, "/api/v1/plans/host-removal?hosts=h3%2Ch4");
  assert.match(out, /lost what it is to survive: 1 GiB → 2 GiB too little$/m);
  assert.match(out, /^web +h3 +h1$/m);
  assert.match(out, /^db +h4 +no host can take it$/m);
});

const sizeAdvice = {
  ...{ id: "1", name: "web", verdict: "too-large", dismissed: false, confidence: "high", days: 14, at: 1 },
  ...{ given: { cpus: 8, memoryBytes: 8 * 2 ** 30 }, suggested: { cpus: 2, memoryBytes: 2.25 * 2 ** 30 } },
  saving: { cpus: 6, memoryBytes: 5.75 * 2 ** 30, cpuPercent: 1.5, memoryPercent: 0.2 },
  ...{ effect: { cpus: "next-start", memory: "now" }, reasons: ["it used little"], risks: ["a peak may take longer"] },
};

test("vm advice says what, why, what it gives back, what could go wrong, and the command that follows it", async () => {
  const { out, requests } = await run(["vm", "advice", "web"], () => sizeAdvice);
  assert.equal(requests[0]?.path, "/api/v1/vms/web/advice");
  assert.deepEqual(out.split("\n"), [
    "web: too large, confidence high",
    "  it used little",
    "Now 8 vCPUs, 8 GiB; 2 vCPUs, 2304 MiB would do.",
    "That would give back 6 vCPUs and 5888 MiB: 1.5 % of its cluster's CPUs and 0.2 % of its memory.",
    "  Risk: a peak may take longer.",
    "`sheaf vm resize web --cpus 2 --memory 2304MiB` (or `sheaf vm advice web --apply`) changes it: CPUs at its next start, memory while it runs.",
  ]);
});

test("vm advice follows itself, is dismissed and recalled by the machine's own document", async () => {
  const changes = async (...options: string[]) =>
    (await run(["vm", "advice", "web", ...options], ({ method }) => (method === "GET" ? sizeAdvice : { record: record("web") }))).requests
      .filter(({ method }) => method === "PATCH")
      .map(({ body }) => JSON.parse(body ?? ""));
  assert.deepEqual(await changes("--apply"), [{ spec: { cpu: { count: 2, topology: null }, memory: { bytes: 2.25 * 2 ** 30 } } }]);
  assert.deepEqual(await changes("--dismiss"), [{ labels: { "right-sizing": "off" } }]);
  assert.deepEqual(await changes("--dismiss", "--until", "2027-03-01"), [{ labels: { "right-sizing": "2027-03-01" } }]);
  assert.deepEqual(await changes("--recall"), [{ labels: { "right-sizing": null } }]);
  await assert.rejects(
    run(["vm", "advice", "--apply"], () => sizeAdvice),
    /Name the machine/,
  );
});

test("vm advice lists what is worth most, and counts the rest", async () => {
  const small = {
    ...sizeAdvice,
    ...{ name: "db", verdict: "too-small", suggested: { cpus: 12, memoryBytes: 8 * 2 ** 30 } },
    saving: { ...sizeAdvice.saving, cpus: -4, memoryBytes: 0 },
  };
  const { out, requests } = await run(["vm", "advice", "--cluster", "lab", "--verdict", "idle"], () => ({
    ...{ items: [small, sizeAdvice], total: 2, looked: 9, waiting: 1 },
    ...{ verdicts: { idle: 0, "too-large": 1, "too-small": 1, right: 7, unknown: 0 }, saving: { cpus: 2, memoryBytes: 2 ** 30 } },
  }));
  assert.equal(requests[0]?.path, "/api/v1/right-sizing/vms?cluster=lab&verdict=idle&dismissed=false&skip=0&count=100");
  assert.match(out, /^db +too-small +8 → 12 +8 GiB +-4 vCPUs, 0 B +high$/m);
  assert.match(out, /^web +too-large +8 → 2 +8 GiB → 2304 MiB +6 vCPUs, 5888 MiB +high$/m);
});

test("vm metrics asks for the last hour in some thirty lines, and shows each figure with its unit", async () => {
  const { out, requests } = await run(
    ["vm", "metrics", "web", "--metric", "cpu", "memoryUsedBytes", "netReceiveBytesPerSecond", "-p", "shop"],
    () => ({
      from: 0,
      stepMs: 120_000,
      rowMs: 10_000,
      values: { cpu: [1.5, null], memoryUsedBytes: [2 ** 30, 0], netReceiveBytesPerSecond: [2048, 1] },
    }),
  );
  const { pathname, searchParams } = new URL(requests[0]?.path ?? "", "https://x");
  assert.equal(pathname, "/api/v1/vms/web/metrics");
  assert.deepEqual(Object.fromEntries(searchParams), {
    project: "shop",
    metrics: "cpu,memoryUsedBytes,netReceiveBytesPerSecond",
    from: "0",
    to: "100000",
    stepMs: "120000",
    by: "mean",
  });
  assert.match(out, /^AT +CPU +MEMORY USED +NET RECEIVE$/m);
  assert.match(out, /^1970-01-01T00:00:00 +1\.500 +1 GiB +2 KiB\/s$/m);
  assert.match(out, /^1970-01-01T00:02:00 +- +0 B +1 B\/s$/m);
});

test("top shows who uses most of what was asked for", async () => {
  const items = [
    { id: "1", name: "db", project: "p", value: 31_457_280 },
    { id: "2", name: "web", project: "p", value: 512 },
  ];
  const { out, requests } = await run(["top", "vms", "--by", "diskWriteBytesPerSecond", "--last", "1h", "--max", "--count", "2"], () => ({ items }));
  assert.equal(requests[0]?.path, "/api/v1/telemetry/top-vms?metric=diskWriteBytesPerSecond&windowMs=3600000&by=max&count=2");
  assert.match(out, /^NAME +DISK WRITE\ndb +30 MiB\/s\nweb +512 B\/s$/);
});

test("apply creates what is missing, changes what differs, leaves alone what is the same, in the order things need each other", async () => {
  const yaml =
    "kind: vm\nname: new\nspec: {}\n---\nkind: network\nname: net\nspec: {bridge: br0}\n---\nkind: vm\nname: same\nspec: {power: stopped}\n---\nkind: vm\nname: other\nspec: {power: stopped}\n";
  const { requests, out } = await run(
    ["apply", "-f", "x.yaml"],
    (request) => {
      if (request.method === "GET")
        return request.path.includes("/same")
          ? record("same", { power: "stopped" })
          : request.path.includes("/other")
            ? record("other", { power: "running" })
            : undefined;
      const body = JSON.parse(request.body ?? "");
      return { record: { ...record(body.name), ...body } };
    },
    { "x.yaml": yaml },
  );
  assert.deepEqual(out.split("\n"), ["network net: created", "vm new: created", "vm same: unchanged", "vm other: changed"]);
  const written = requests.filter((request) => request.method !== "GET" && !request.path.includes("dryRun=true"));
  assert.deepEqual(
    written.map((request) => `${request.method} ${request.path.split("?")[0]}`),
    ["POST /api/v1/networks", "POST /api/v1/vms", "PUT /api/v1/vms/id-other"],
  );
  assert.equal(written[2]?.headers["if-match"], '"7"');
});

test("apply --dry-run writes nothing and shows the difference", async () => {
  const { requests, out } = await run(
    ["apply", "-f", "x", "--dry-run"],
    (request) => (request.method === "GET" ? record("a", { power: "running" }) : { record: record("a", { power: "stopped" }) }),
    { x: "{kind: vm, name: a, spec: {power: stopped}}" },
  );
  assert.ok(requests.every((request) => request.method === "GET" || request.path.includes("dryRun=true")));
  assert.match(out, /^- {3}power: running$/m);
  assert.match(out, /^\+ {3}power: stopped$/m);
});

test("a broken document is refused before anything is sent", async () => {
  const bombs = `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]`;
  for (const text of [
    "",
    "kind: vm",
    "kind: gadget\nname: x\nspec: {}",
    "kind: vm\nname: x",
    "- 1",
    "{",
    "kind: vm\nkind: vm\nname: a\nspec: {}",
    "kind: vm\nname: a\ncolor: red\nspec: {}",
    "kind: vm\nname: a\nspec: {cpu: {count: .nan}}",
    '{"kind":"vm","name":"a","spec":{"cpu":{"count":1e309}}}',
    "kind: vm\nname: a\nspec: &s {again: *s}",
    "kind: vm\nname: a\nspec: {}\n---\nkind: vm\nname: a\nspec: {power: stopped}",
    bombs,
  ]) {
    let sent = 0;
    await assert.rejects(
      run(["apply", "-f", "x"], () => ((sent += 1), {}), { x: text }),
      (error: unknown) => reportProblem(error).exitCode === 2 && !/\n\s+at /.test(reportProblem(error).text),
      text,
    );
    assert.equal(sent, 0, text);
  }
});

test("one bad document of several leaves all of them undone", async () => {
  const yaml = "kind: network\nname: net\nspec: {bridge: br0}\n---\nkind: vm\nname: bad\nspec: {cpus: 1}\n";
  const sent: string[] = [];
  const answer = (request: HttpRequest): unknown => {
    sent.push(`${request.method} ${request.path}`);
    if (request.method === "GET") return undefined;
    const body = JSON.parse(request.body ?? "");
    if (body.name === "bad") throw new SheafError("invalid-input", "/spec/cpus is not known here.");
    return { record: { ...record(body.name), ...body } };
  };
  await assert.rejects(run(["apply", "-f", "x"], answer, { x: yaml }), /is not known here/);
  assert.ok(
    sent.every((line) => line.startsWith("GET") || line.includes("dryRun=true")),
    sent.join("\n"),
  );
});

test("a document may refer to one that the same file creates, and to no other that is missing", async () => {
  const made = new Set<string>();
  const answer = (request: HttpRequest): unknown => {
    if (request.method === "GET") return undefined;
    const body = JSON.parse(request.body ?? "");
    const needs: string | undefined = body.spec.nics?.[0].network;
    if (needs !== undefined && !made.has(needs))
      throw new SheafError("not-found", `There is no network ${needs}.`, { errors: [{ at: "/spec/nics/0/network", message: "is not there" }] });
    if (!request.path.includes("dryRun=true")) made.add(body.name);
    return { record: { ...record(body.name), ...body } };
  };
  const file = (network: string): string =>
    `kind: vm\nname: a\nspec: {nics: [{name: n, network: ${network}}]}\n---\nkind: network\nname: net\nspec: {bridge: br0}\n`;
  assert.match((await run(["apply", "-f", "x", "--dry-run"], answer, { x: file("net") })).out, /vm a: would be created\n\+ name: a/);
  assert.equal(made.size, 0);
  await assert.rejects(run(["apply", "-f", "x"], answer, { x: file("other") }), /no network other/);
  assert.equal(made.size, 0);
  assert.equal((await run(["apply", "-f", "x"], answer, { x: file("net") })).out, "network net: created\nvm a: created");
});

test("words that cannot be meant are refused before anything is sent, with exit code 2", async () => {
  const lines = [
    "vm create web --count 0",
    "vm create web --pci Fast_Nic",
    "vm create web --apart web/room",
    "vm create web --together web:2",
    "vm create web --count 1001",
    "vm create web --memory much",
    "vm resize web --disk root=much",
    "vm delete",
    "volume resize data much",
    "user grant alice a@b@c",
    "network create n --bridge br0 --subnet 10.0.5.0/24 --range 10.0.5.9",
    "network create n --bridge br0 --gateway 10.0.5.1",
    "image import x /no/such/file",
    "image import x /tmp",
    "apply -f missing",
    "-o xml vm list",
    "vm show",
    "vm fly",
  ];
  for (const line of lines) {
    const writes: string[] = [];
    const result = await run(line.split(" "), (request) => {
      if (request.method !== "GET") writes.push(request.path);
      return { ...record("web"), spec: { disks: [{ name: "root", volume: "v" }] } };
    }).then(
      () => undefined,
      (error: unknown) => reportProblem(error),
    );
    assert.equal(result?.exitCode, 2, line);
    assert.deepEqual(writes, [], line);
  }
});

test("output is a table for people, and whole records for programs", async () => {
  const items = [{ ...record("web"), state: "running", spec: { cpu: { count: 2 }, memory: { bytes: 2 ** 30 } } }];
  assert.match((await run(["vm", "list"], () => ({ items }))).out, /^NAME +NUMBER +STATE +CPUS +MEMORY.*\nweb +- +running +2 +1 GiB/);
  assert.deepEqual(JSON.parse((await run(["-o", "json", "vm", "list"], () => ({ items }))).out), items);
  assert.equal((await run(["vm", "list", "-o", "name"], () => ({ items }))).out, "web");
});

test("machines are listed with the names of their hosts, which only tables ask for", async () => {
  const answer = ({ path }: HttpRequest) =>
    path.includes("/hosts")
      ? { items: [{ id: "0192a000-0000-7000-8000-00000000000a", name: "h7" }] }
      : { items: [{ ...record("web"), state: "running", spec: {}, placement: { host: "0192a000-0000-7000-8000-00000000000a" } }] };
  const asTable = await run(["--project", "p", "vm", "list"], answer);
  assert.match(asTable.out, /^NAME.* HOST .*\nweb .* h7 /);
  const asNames = await run(["vm", "list", "-o", "name"], answer);
  assert.deepEqual([asNames.out, asNames.requests.length], ["web", 1]);
});

test("what comes from guests and hosts moves no cursor", async () => {
  const items = [{ ...record("web"), state: "\u001b]0;owned\u0007\nroot", spec: {} }];
  assert.match((await run(["vm", "list"], () => ({ items }))).out, /^NAME.*\nweb +- +\ufffd\]0;owned\ufffd\ufffdroot [^\n]*$/);
  assert.equal(reportProblem(new SheafError("internal", "a\u001b[2Jb")).text, "sheaf: a\ufffd[2Jb\n");
});

test("all pages of a list are read", async () => {
  const { out } = await run(["vm", "list", "-o", "name"], (request) =>
    request.path.includes("cursor=c1") ? { items: [record("b")] } : { items: [record("a")], next: "c1" },
  );
  assert.equal(out, "a\nb");
});

test("the configuration is for its owner alone, and a broken one is told", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sheaf-cli-"));
  try {
    const path = join(folder, "sub", "config.json");
    assert.deepEqual(await readConfig(path), { servers: {} });
    await writeConfig(path, { current: "https://a:1", servers: { "https://a:1": { token: "t" } } });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(chooseConnection(await readConfig(path), undefined, {}), { url: "https://a:1", token: "t" });
    assert.deepEqual(chooseConnection(await readConfig(path), "https://b:1/", { SHEAF_TOKEN: "x" }), { url: "https://b:1", token: "x" });
    assert.throws(
      () => chooseConnection({ servers: {} }, undefined, {}),
      (error: SheafError) => error.code === "unauthenticated",
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("differences show what changed and little else", () => {
  assert.equal(difference("a\nb\n", "a\nb\n", false), "");
  assert.equal(difference("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nx\n6\n", false), "  3\n  4\n- 5\n+ x\n  6");
  assert.equal(difference("", "a\n", false), "+ a");
});

test("Chinese takes two columns", () => assert.equal(width("主机a"), 5));

test("progress is a bar with words, no wider than the terminal", () => {
  assert.equal(progressLine("moved: 1/4", 0.25, 80), "[#####---------------]  25 %  moved: 1/4");
  assert.equal(progressLine("moved: 4/4", 1.5, 80), "[####################] 100 %  moved: 4/4");
  assert.equal(progressLine("waiting", undefined, 80), "waiting");
  assert.equal(width(progressLine("主机".repeat(50), 0.5, 41)) < 41, true);
});

test("an address that is none of a server's is refused", () => {
  for (const address of ["nonsense://x", "http://a:7443", "https://", "https://a b"])
    assert.equal(reportProblem(problemOf(() => chooseConnection({ servers: {} }, address, {}))).exitCode, 2, address);
  assert.equal(chooseConnection({ servers: {} }, "sheaf.example:7443/", {}).url, "https://sheaf.example:7443");
});

function problemOf(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}
