/**
 * Bad input over the API, the command line and files, against a real server and a real host: each is refused by its stated code, never by
 * a 5xx, and leaves store, libvirt's definitions and disks as they were.
 */
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { GUEST_IMAGE_CACHE } from "@sheaf/lab";
import { problems, type ProblemCode } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import { apiCases, type Furniture } from "./bad-input/api-cases.ts";
import { commandCases } from "./bad-input/command-cases.ts";
import { imageCases, imageLimitBytes, type ImageCase } from "./bad-input/image-cases.ts";
import { ask, askHttp2, say, type RawReply } from "./bad-input/raw-request.ts";
import { SiteObserver, type SiteState } from "./bad-input/site-state.ts";
import { openSite, type Site } from "./site.ts";

let site: Site;
let observer: SiteObserver;
let furniture: Furniture;
let folder: string;
let shortLived: { readonly token: string; readonly expiresAtMs: number };

before(
  async () => {
    folder = await mkdtemp(join(tmpdir(), "bad-input-"));
    site = await openSite({ hosts: 1, port: 17_743, serverArguments: ["--image-bytes", String(imageLimitBytes)] });
    observer = new SiteObserver(site);
    furniture = await furnish();
  },
  { timeout: 180_000 },
);
after(
  async () => {
    await site?.close();
    await rm(folder, { recursive: true, force: true });
  },
  { timeout: 60_000 },
);

/** One machine that is off and has a disk, one that runs and writes to none; tokens of others; a pool and a project without room. */
async function furnish(): Promise<Furniture> {
  const { client, lab } = site.deployment;
  await mkdir(join(lab.sharedDirectory, "full"));
  await client.pool.create({ body: { name: "full", spec: { type: "shared", path: "/mnt/shared/full", minimumFreeRatio: 0.9, overcommit: 1 } } });
  await site.must("vm", "create", "web", "--image", "mini", "--memory", "128MiB", "--stopped", "--wait");
  await site.must("vm", "create", "idle", "--memory", "64MiB", "--wait");
  await client.project.create({ body: { name: "tight", spec: { quota: { vms: 0 } } } });
  await client.project.create({ body: { name: "other", spec: {} } });
  await client.network.create({ body: { name: "kept", spec: { bridge: "br0" } }, idempotencyKey: "used-before" });
  const password = "a long enough password";
  for (const [name, role, project] of [
    ["watcher", "viewer", "*"],
    ["leaver", "admin", "*"],
    ["tenant", "admin", "other"],
  ] as const)
    await client.user.create({ body: { name, spec: { password, grants: [{ role, project }] } } });
  const signIn = async (user: string): Promise<string> => (await client.session.signIn({ body: { user, password } })).token;
  const revoked = await client.token.create({ body: { name: "revoked" } });
  await client.token.delete({ params: { id: revoked.record.id } });
  const viewer = await signIn("watcher");
  const disabled = await signIn("leaver");
  await client.user.change({ params: { id: "leaver" }, body: { spec: { disabled: true } } });
  const expiring = await client.token.create({ body: { name: "short", validForMs: 60_000 } });
  shortLived = { token: expiring.secret, expiresAtMs: performance.now() + 60_000 };
  const web = await client.vm.get({ params: { id: "web" } });
  const host = site.deployment.hosts.get("h1")?.host;
  const identity = JSON.parse(await readFile(join(host?.directory ?? "", "agent/agent", "identity.json"), "utf8")) as {
    certificate: string;
    privateKey: string;
  }; // what the agent wrote
  await until("what the host sees of the pool", 20_000, async () =>
    Object.keys((await client.pool.get({ params: { id: "full" } })).status["hosts"] ?? {}).length > 0 ? true : undefined,
  );
  return {
    vmId: web.id,
    volumeId: web.spec.disks[0]?.volume ?? "",
    viewer,
    disabled,
    scoped: await signIn("tenant"),
    revoked: revoked.secret,
    foreign: revoked.secret.replace(/[0-9a-f]{8}(?=[^/]*$)/, "00000000"),
    agent: { cert: identity.certificate, key: identity.privateKey },
  };
}

let last: SiteState | undefined;
/** What is the same before and after. The state after one case is the one before the next, unless something else was done between. */
async function unchanged(act: () => Promise<void>): Promise<void> {
  const seen = last ?? (await observer.look());
  last = undefined;
  await act();
  const now = await observer.look();
  assert.deepEqual(now, seen);
  last = now;
}
/** The same for what is accepted and fails afterwards: its receipts stay. */
async function unchangedButReceipts(act: () => Promise<void>): Promise<void> {
  const seen = await observer.look({ withoutReceipts: true });
  await act();
  assert.deepEqual(await observer.look({ withoutReceipts: true }), seen);
  last = undefined;
}

async function allEnded(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === "rejected") throw result.reason;
}

function assertProblem(reply: RawReply, code: string, at?: string): void {
  const { status } = problems[code as ProblemCode]; // the cases name codes of the list
  assert.equal(reply.status, status, reply.text.slice(0, 500));
  assert.match(reply.type, /^application\/problem\+json/);
  const problem = JSON.parse(reply.text) as { code: string; detail: string; errors?: { at: string }[] }; // a problem, by its type
  assert.equal(problem.code, code, reply.text.slice(0, 500));
  assert.ok(problem.detail.length > 10, reply.text.slice(0, 500));
  if (at !== undefined)
    assert.ok(
      problem.errors?.some((error) => error.at === at),
      `${at} is not named: ${reply.text.slice(0, 500)}`,
    );
}

test("what is watched is there to be spoilt, and what spoils it is seen", { timeout: 60_000 }, async () => {
  const seen = await observer.look();
  assert.ok(Object.keys(seen.store).length > 40);
  assert.match(seen.hosts["h1"] ?? "", /<domain type='(qemu|kvm)' id=/);
  assert.ok(Object.keys(seen.files).some((path) => path.includes("/volumes/")));
  const inHost = async (command: string): Promise<void> => {
    const result = await site.deployment.hosts.get("h1")?.host.exec(["sh", "-c", command]);
    assert.equal(result?.code, 0, result?.stderr);
  };
  const domain = "<domain type='qemu'><name>stray</name><memory>65536</memory><os><type>hvm</type></os></domain>";
  const spoilt: readonly (readonly [keyof SiteState, () => Promise<unknown>, () => Promise<unknown>])[] = [
    ["store", () => site.must("project", "create", "stray"), () => site.must("project", "delete", "stray")],
    ["hosts", () => inHost(`echo "${domain}" | virsh define /dev/stdin`), () => inHost("virsh undefine stray")],
    ["hosts", () => inHost("ip link add stray type bridge"), () => inHost("ip link delete stray")],
    ["files", () => inHost("echo x > /mnt/local/sheaf/volumes/stray"), () => inHost("rm /mnt/local/sheaf/volumes/stray")],
  ];
  for (const [part, spoil, mend] of spoilt) {
    await spoil();
    assert.notDeepEqual((await observer.look())[part], seen[part], `${part} is watched`);
    await mend();
  }
});

describe("over the API", () => {
  for (const one of apiCases)
    test(one.what, { timeout: 60_000 }, () =>
      unchanged(async () => assertProblem(await ask(site.deployment.client, one.send(furniture)), one.code, one.at)),
    );

  test("bytes that are no request", { timeout: 60_000 }, () =>
    unchanged(async () => {
      const answer = await say(site.deployment.client, "\u0000\u0001 rubbish \r\n\r\n");
      assert.match(answer, /^HTTP\/1\.1 400 .*application\/problem\+json.*"code":"invalid-input"/s);
    }),
  );
  test("headers of 100 KB over HTTP/2", { timeout: 60_000 }, () =>
    unchanged(async () => {
      const status = await askHttp2(site.deployment.client, { ":path": "/api/v1/vms", "x-long": "x".repeat(100_000) });
      assert.ok(status === "ended" || (status >= 400 && status < 500), String(status));
      assert.equal(await askHttp2(site.deployment.client, { ":path": "/api/v1/vms" }), 200);
    }),
  );
});

describe("over the command line and files", () => {
  for (const [index, one] of commandCases.entries())
    test(one.what, { timeout: 60_000 }, () =>
      unchanged(async () => {
        const path = join(folder, `bad-file-${index}`);
        if (one.file !== undefined) await writeFile(path, one.file);
        const { code, out, error } = await site.sheaf(...one.words.map((word) => (word === "FILE" ? path : word)));
        assert.equal(code, one.exit, error + out);
        assert.match(error, one.says);
        assert.doesNotMatch(error + out, /\n\s+at |node:internal|\.ts:\d|TypeError|ReferenceError|undefined/, "it is told in words for people");
        assert.ok(error.length < 4000, "and in few of them");
        assert.doesNotMatch(error, /\u001b|\u0007/, "and what was typed moves no terminal");
      }),
    );
});

describe("images", () => {
  const cases = imageCases(join(GUEST_IMAGE_CACHE, "mini.qcow2"));
  const batch = 7;
  for (let from = 0; from < cases.length; from += batch) {
    const some = cases.slice(from, from + batch);
    test(some.map(({ what }) => what).join("; "), { timeout: 120_000 }, () =>
      unchangedButReceipts(() => allEnded(some.map((one, index) => importRefused(one, `bad-${from + index}`)))),
    );
  }

  async function importRefused(one: ImageCase, name: string): Promise<void> {
    const { client } = site.deployment;
    const path = await one.make?.(folder, name);
    const { record } = await client.image.create({ body: { name, spec: { source: { upload: true }, ...one.spec } } });
    try {
      const sent = path === undefined ? undefined : await upload(record.id, await readFile(path));
      assert.ok(sent === undefined || sent.status < 500, `${one.what}: ${sent?.text}`);
      const refused = await until(`the end of ${one.what}`, 60_000, async () => {
        const library = (await client.image.get({ params: { id: record.id } })).status["library"] as
          | { state: string; code?: string; problem?: string }
          | undefined; // an image's record
        assert.notEqual(library?.state, "ready", `${one.what} was taken`);
        return library?.state === "failed" ? library : undefined;
      });
      assert.equal(refused.code, one.code, `${one.what}: ${refused.problem}`);
      assert.match(refused.problem ?? "", one.says, one.what);
      assert.ok(!refused.problem?.includes(site.folder), `${one.what} tells the server's paths: ${refused.problem}`);
      if (one.spec?.["type"] !== "iso") {
        const disks = [{ name: "root", image: name, sizeBytes: 2 ** 30 }];
        assertProblem(await ask(client, { path: "/api/v1/vms", body: JSON.stringify({ name: "bad", spec: { disks } }) }), "state-refused");
      }
    } finally {
      await deleteImage(record.id);
    }
  }

  async function deleteImage(id: string): Promise<void> {
    const { client } = site.deployment;
    await client.image.delete({ params: { id } });
    await until("the image as gone", 20_000, async () => ((await ask(client, { path: `/api/v1/images/${id}` })).status === 404 ? true : undefined));
  }

  const upload = (id: string, body: Buffer, headers: Record<string, string> = {}): Promise<RawReply> =>
    ask(site.deployment.client, {
      method: "PUT",
      path: `/api/v1/images/${id}/content`,
      body,
      headers: { "content-type": "application/octet-stream", ...headers },
    });

  test("a size that does not fit, and more bytes than were said", { timeout: 60_000 }, () =>
    unchangedButReceipts(async () => {
      const { client } = site.deployment;
      const { record } = await client.image.create({ body: { name: "sized", spec: { source: { upload: true } } } });
      assertProblem(await upload(record.id, Buffer.alloc(100), { "content-range": "bytes 0-9/10" }), "invalid-input");
      assertProblem(await upload(record.id, Buffer.alloc(5_000_000), { "content-range": "bytes 0-9/10" }), "invalid-input");
      assertProblem(await upload(record.id, Buffer.alloc(10), { "content-range": "bytes 90-99/100" }), "conflict");
      assertProblem(await upload(record.id, Buffer.alloc(10), { "content-range": `bytes 0-9/${imageLimitBytes + 1}` }), "too-large");
      assertProblem(await upload(record.id, Buffer.alloc(10), { "content-range": "bytes 9-0/10" }), "invalid-input");
      assertProblem(await upload(record.id, Buffer.alloc(10), { "content-encoding": "gzip" }), "unsupported-media");
      await deleteImage(record.id);
    }),
  );
});

test("a token that has expired", { timeout: 90_000 }, async () => {
  const { client } = site.deployment;
  await until("the end of the token's time", 80_000, async () => (performance.now() > shortLived.expiresAtMs ? true : undefined));
  await unchanged(async () => assertProblem(await ask(client, { path: "/api/v1/vms", token: shortLived.token }), "unauthenticated"));
});

test("free text stays text: in the domain, in the seed, and in what the command line shows", { timeout: 60_000 }, async () => {
  const { client, hosts } = site.deployment;
  const hostile = `"'><&]]></title><disk type='file'><source file='/etc/shadow'/></disk>$(reboot)\`id\`;%n`;
  const userData = `#!/bin/sh\n</user-data>'"$(id)\n`;
  await client.vm.create({
    body: { name: "quoted", displayName: hostile, spec: { memory: { bytes: 64 * 2 ** 20 }, cloudInit: { userData, password: `<&'"$(id)` } } },
  });
  await until("the machine as running", 40_000, async () =>
    (await client.vm.get({ params: { id: "quoted" } }))["state"] === "running" ? true : undefined,
  );
  const host = hosts.get("h1")?.host;
  const { id } = await client.vm.get({ params: { id: "quoted" } });
  const xml = (await host?.exec(["virsh", "dumpxml", id]))?.stdout ?? "";
  assert.ok(!xml.includes("/etc/shadow"), xml);
  const seeds =
    (
      await host?.exec(["sh", "-c", "find / -xdev -name '*.iso' -newer /etc/libvirt/libvirtd.conf 2>/dev/null; find /var/lib/sheaf -name '*.iso'"])
    )?.stdout
      .trim()
      .split("\n") ?? [];
  const contents = await Promise.all([...new Set(seeds)].map(async (path) => (await host?.exec(["cat", path]))?.stdout ?? ""));
  assert.ok(
    contents.some((content) => content.includes(userData)),
    `no seed holds the user data as it was given: ${seeds.join(" ")}`,
  );
  assert.equal((JSON.parse(await site.must("vm", "show", "quoted", "-o", "json")) as { displayName: string }).displayName, hostile);
  assert.ok(!(await site.must("vm", "show", "quoted")).includes("$(id)"), "user data and password are not shown");
  await site.must("vm", "delete", "quoted", "--wait");
});

test("there were enough of them, none was the server's mistake, and none stopped the machines", { timeout: 60_000 }, async () => {
  assert.ok(apiCases.length >= 80 && commandCases.length >= 50);
  const log = await buffer(createReadStream(site.deployment.server.logFile));
  assert.ok((await stat(site.deployment.server.logFile)).size > 0);
  assert.deepEqual(
    log
      .toString()
      .split("\n")
      .filter((line) => line.includes("a request failed")),
    [],
  );
  assert.equal((await site.deployment.client.vm.get({ params: { id: "idle" } }))["state"], "running");
});
