import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { isoImage } from "./iso-image.ts";
import { holds, seedContent, seedDigest } from "./seed.ts";
import { sampleId } from "./simulated/sample-documents.ts";
import { ids, network, vm } from "./simulated/sample-site.ts";

const networks = new Map([[ids.network, network()]]);

/** Reads a Joliet image as a guest does, from what the standards say alone. */
function readIso(image: Uint8Array): Record<string, string> {
  const bytes = Buffer.from(image);
  let volume = 16;
  for (; bytes[volume * 2048] !== 255; volume += 1) {
    assert.equal(bytes.toString("latin1", volume * 2048 + 1, volume * 2048 + 6), "CD001");
    if (bytes[volume * 2048] === 2) break;
  }
  assert.equal(bytes.toString("latin1", volume * 2048 + 88, volume * 2048 + 91), "%/E");
  const sectors = bytes.readUInt32LE(volume * 2048 + 80);
  assert.equal(sectors * 2048, bytes.length);
  assert.equal(bytes.readUInt32BE(volume * 2048 + 84), sectors);
  const directory = bytes.readUInt32LE(volume * 2048 + 156 + 2) * 2048;
  const found: Record<string, string> = {};
  for (let at = directory; (bytes[at] ?? 0) > 0; at += bytes[at] ?? 0) {
    const start = bytes.readUInt32LE(at + 2) * 2048;
    const length = bytes.readUInt32LE(at + 10);
    assert.equal(bytes.readUInt32BE(at + 14), length);
    const name = Buffer.from(bytes.subarray(at + 33, at + 33 + (bytes[at + 32] ?? 0)));
    if (name.length === 1) continue;
    found[name.swap16().toString("utf16le").replace(/;1$/, "")] = bytes.toString("utf8", start, start + length);
  }
  return found;
}

test("property: what goes into an image comes out of it, whatever the lengths", () => {
  const text = fc.oneof(fc.string(), fc.string({ minLength: 2000, maxLength: 5000 }), fc.constant("x".repeat(2048)));
  fc.assert(
    fc.property(text, text, text, (a, b, c) => {
      const files = { "meta-data": a, "user-data": b, "network-config": c };
      const clean = (each: string) => Buffer.from(each).toString();
      assert.deepEqual(readIso(isoImage("cidata", files)), { "meta-data": clean(a), "network-config": clean(c), "user-data": clean(b) });
    }),
    { numRuns: 200 },
  );
});

test(
  "other programs read the image: label and files",
  { skip: spawnSync("xorriso", ["-version"]).status !== 0 && "xorriso is not installed" },
  () => {
    const directory = mkdtempSync(join(tmpdir(), "sheaf-seed-"));
    try {
      const path = join(directory, "seed.iso");
      writeFileSync(path, isoImage("cidata", { "meta-data": "m\n", "user-data": "u".repeat(16_384), "network-config": "n\n" }));
      execFileSync("xorriso", ["-osirrox", "on", "-indev", path, "-extract", "/", join(directory, "out")], { stdio: "ignore" });
      assert.equal(readFileSync(join(directory, "out/user-data"), "utf8"), "u".repeat(16_384));
      assert.match(
        execFileSync("xorriso", ["-indev", path, "-pvd_info"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
        /Volume Id\s*: cidata/,
      );
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
);

test("the seed tells name, addresses, gateway, name servers and keys", () => {
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKey me@here";
  const content = seedContent(vm({ cloudInit: { sshAuthorizedKeys: [key], password: 'p"w: #x' } }), networks);
  assert.deepEqual(JSON.parse(content["meta-data"]), { "instance-id": ids.vm, "local-hostname": "web" });
  assert.ok(content["user-data"].startsWith("#cloud-config\n"));
  const user = JSON.parse(content["user-data"].slice("#cloud-config\n".length));
  assert.deepEqual([user.hostname, user.password, user.ssh_authorized_keys], ["web", 'p"w: #x', [key]]);
  assert.deepEqual(JSON.parse(content["network-config"]), {
    version: 2,
    ethernets: {
      nic0: {
        match: { macaddress: "52:54:00:00:00:60" },
        addresses: ["10.0.0.7/24"],
        dhcp4: false,
        dhcp6: false,
        routes: [{ to: "0.0.0.0/0", via: "10.0.0.1" }],
        nameservers: { addresses: ["10.0.0.53"] },
      },
    },
  });
});

test("user data that was given goes in verbatim; the host name may differ from the machine's", () => {
  const given = "#!/bin/sh\necho 'hello'\n";
  const content = seedContent(vm({ cloudInit: { userData: given, hostname: "other" } }), networks);
  assert.equal(content["user-data"], given);
  assert.equal(JSON.parse(content["meta-data"])["local-hostname"], "other");
});

test("two interfaces and two families: one default route of each, through the first that has one", () => {
  const second = sampleId(31);
  const both = new Map([
    [
      ids.network,
      network({
        subnets: [
          { cidr: "10.0.0.0/24", gateway: "10.0.0.1" },
          { cidr: "2001:db8::/64", gateway: "2001:db8::1" },
        ],
      }),
    ],
    [second, network({ subnets: [{ cidr: "10.1.0.0/16", gateway: "10.1.0.1" }] })],
  ]);
  const nics = [
    { name: "eth0", network: ids.network, mac: "52:54:00:00:00:01", addresses: ["10.0.0.7", "2001:db8::7"] },
    { name: "eth1", network: second, mac: "52:54:00:00:00:02", addresses: ["10.1.2.3"] },
    { name: "eth2", network: second, mac: "52:54:00:00:00:03", addresses: [] },
  ];
  const { ethernets } = JSON.parse(seedContent(vm({ nics }), both)["network-config"]);
  assert.deepEqual(ethernets.nic0.addresses, ["10.0.0.7/24", "2001:db8::7/64"]);
  assert.deepEqual(ethernets.nic0.routes, [
    { to: "0.0.0.0/0", via: "10.0.0.1" },
    { to: "::/0", via: "2001:db8::1" },
  ]);
  assert.deepEqual([ethernets.nic1.addresses, ethernets.nic1.routes ?? []], [["10.1.2.3/16"], []]);
  assert.equal(ethernets.nic2.dhcp4, true);
});

test("the digest changes with anything the guest would be told", () => {
  const digest = (spec: object, over = networks) => seedDigest(seedContent(vm(spec), over));
  assert.equal(digest({}), digest({ cpu: { count: 2 } }));
  assert.notEqual(digest({}), digest({ cloudInit: { password: "x" } }));
  assert.notEqual(digest({}), digest({}, new Map([[ids.network, network({ subnets: [{ cidr: "10.0.0.0/16" }] })]])));
});

test("which subnet an address lies in", () => {
  assert.ok(holds("10.0.0.0/24", "10.0.0.255"));
  assert.ok(!holds("10.0.0.0/24", "10.0.1.0"));
  assert.ok(holds("0.0.0.0/0", "1.2.3.4"));
  assert.ok(holds("2001:db8::/32", "2001:db8:1::5"));
  assert.ok(!holds("2001:db8::/32", "2001:db9::1"));
  assert.ok(holds("::ffff:0:0/96", "::ffff:10.0.0.1"));
  assert.ok(!holds("10.0.0.0/8", "::1"));
});
