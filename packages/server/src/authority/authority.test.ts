import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { silentLogger, SimulatedClock, type Random } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import { openMemoryStore, type Store } from "@sheaf/store";
import { Revocations } from "./revocations.ts";
import { createSecrets } from "./secrets.ts";
import { SiteAuthority, type KeyFiles } from "./site-authority.ts";

const run = promisify(execFile);
const random: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) };
const hostId = "0192f0c1-2345-7abc-8def-0123456789ab";

class MapFiles implements KeyFiles {
  readonly files = new Map<string, string>();
  async readText(path: string): Promise<string | null> {
    return this.files.get(path) ?? null;
  }
  async writeAtomic(path: string, content: string): Promise<void> {
    this.files.set(path, content);
  }
}

describe("SiteAuthority", () => {
  let directory = "";
  const files = new MapFiles();
  const key = random.bytes(32);
  const clock = new SimulatedClock(Date.now());
  let store: Store;
  const path = (name: string): string => join(directory, name);
  const open = async (
    names: readonly string[] = ["sheaf.example.org", "192.0.2.7", "2001:db8::7"],
    withKey = key,
    ownClock = clock,
  ): Promise<SiteAuthority> =>
    SiteAuthority.open({
      files,
      directory: "/keys",
      secrets: createSecrets(withKey, random),
      clock: ownClock,
      random,
      logger: silentLogger,
      names,
      revocations: await Revocations.open(store, clock, silentLogger),
    });
  const request = (curve = "prime256v1"): string => {
    execFileSync("openssl", ["ecparam", "-genkey", "-name", curve, "-noout", "-out", path("agent.key")]);
    return execFileSync("openssl", [
      "req",
      "-new",
      "-key",
      path("agent.key"),
      "-subj",
      "/CN=another-host",
      "-addext",
      "subjectAltName=DNS:evil",
    ]).toString();
  };

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "sheaf-authority-"));
    store = await openMemoryStore({ clock, random });
  });
  after(async () => {
    await rm(directory, { recursive: true });
    await store.close();
  });

  it("is the same one after a restart, with nothing readable on the disk", async () => {
    const first = await open();
    const again = await open();
    assert.equal(again.fingerprint, first.fingerprint);
    assert.equal(again.serverIdentity.certificate, first.serverIdentity.certificate);
    const der = new X509Certificate(first.certificate).fingerprint256.replaceAll(":", "").toLowerCase();
    assert.equal(first.fingerprint, `sha256:${der}`);
    assert.ok([...files.files.values()].every((text) => !text.includes("PRIVATE KEY")));
    await assert.rejects(open([], random.bytes(32)), (error) => error instanceof SheafError && error.code === "internal");
  });

  it("signs agents as the host they are, whatever the request claims", async () => {
    const authority = await open();
    const pem = await authority.signAgent({
      certificateRequest: request(),
      hostId,
      hostname: "node-1",
      addresses: ["192.0.2.11", "not a name", "2001:db8::11"],
    });
    const certificate = new X509Certificate(pem);
    assert.equal(certificate.subject, `CN=${hostId}`);
    assert.equal(certificate.subjectAltName, "DNS:node-1, IP Address:192.0.2.11, IP Address:2001:DB8:0:0:0:0:0:11");
    assert.equal(Math.round((certificate.validToDate.getTime() - clock.now()) / 86_400_000), 90);
    await writeFile(path("ca.pem"), authority.certificate);
    await writeFile(path("agent.pem"), pem);
    await writeFile(path("server.pem"), authority.serverIdentity.certificate);
    for (const [purpose, file] of [
      ["sslclient", "agent.pem"],
      ["sslserver", "agent.pem"],
      ["sslserver", "server.pem"],
      // Servers of one site dial each other.
      ["sslclient", "server.pem"],
    ] as const) {
      const { stdout } = await run("openssl", ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", path("ca.pem"), path(file)]);
      assert.match(stdout, /: OK/);
    }
  });

  it("stands in a handshake of both sides, and only for its names", async () => {
    const authority = await open();
    const certificate = await authority.signAgent({ certificateRequest: request(), hostId, hostname: "node-1", addresses: [] });
    const identity = authority.serverIdentity;
    const server = createServer(
      { cert: identity.certificate, key: identity.privateKey, ca: identity.authority, requestCert: true, minVersion: "TLSv1.3" },
      (socket) => {
        socket.on("error", () => {});
        socket.end(`${socket.authorized} ${socket.getPeerCertificate().subject.CN}`);
      },
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const privateKey = await readFile(path("agent.key"), "utf8");
    const talk = (servername: string): Promise<string> =>
      new Promise((resolve, reject) => {
        let text = "";
        const socket: TLSSocket = connect({ port, host: "127.0.0.1", servername, ca: authority.certificate, cert: certificate, key: privateKey });
        socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
        socket.on("end", () => resolve(text));
        socket.on("error", reject);
      });
    assert.equal(await talk("sheaf.example.org"), `true ${hostId}`);
    // Who only knows the fingerprint finds the authority in what the server shows.
    const shown = await new Promise<string>((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate(true).issuerCertificate.fingerprint256.replaceAll(":", "").toLowerCase());
        socket.destroy();
      });
      socket.on("error", reject);
    });
    assert.equal(`sha256:${shown}`, authority.fingerprint);
    await assert.rejects(talk("other.example.org"), /altnames/);
    server.close();
  });

  it("refuses requests that are broken or carry another kind of key", async () => {
    const authority = await open();
    const good = request();
    const other = { hostId, hostname: "node-1", addresses: [] };
    const tampered = good.replace(/\n(.)(.)/, (_all, a: string, b: string) => `\n${b}${a === b ? "A" : a}`);
    for (const certificateRequest of [
      "",
      "x",
      "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
      tampered,
      request("secp384r1"),
    ]) {
      await assert.rejects(
        authority.signAgent({ certificateRequest, ...other }),
        (error) => error instanceof SheafError && error.code === "invalid-input",
      );
    }
  });

  it("renews an agent under its old names and what the server knows", async () => {
    const authority = await open();
    const present = await authority.signAgent({ certificateRequest: request(), hostId, hostname: "node-1", addresses: ["192.0.2.11"] });
    const renewed = await authority.renewAgent({ certificateRequest: request(), hostId, present, addresses: ["192.0.2.12"] });
    assert.equal(new X509Certificate(renewed).subjectAltName, "DNS:node-1, IP Address:192.0.2.11, IP Address:192.0.2.12");
  });

  it("renews the server's certificate when a third of its life is left, and for a new name", async () => {
    const time = new SimulatedClock(Date.now());
    const authority = await open(undefined, undefined, time);
    authority.start();
    const seen: string[] = [];
    authority.onRenewal(({ certificate }) => seen.push(certificate));
    const first = authority.serverIdentity.certificate;
    // Signatures are checked on another thread, which virtual time does not wait for.
    const look = async (): Promise<void> => {
      await time.advance(3_600_000);
      const deadline = performance.now() + 5000;
      while (time.pendingTimers === 0) {
        assert.ok(performance.now() < deadline, "the authority stopped looking");
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    time.shiftWallClock(59 * 86_400_000);
    await look();
    assert.deepEqual(seen, []);
    time.shiftWallClock(86_400_000);
    await look();
    assert.equal(seen.length, 1);
    assert.notEqual(seen[0], first);
    assert.equal(authority.serverIdentity.certificate, seen[0]);
    authority.stop();
    const renamed = await open(["new.example.org"]);
    assert.match(new X509Certificate(renamed.serverIdentity.certificate).subjectAltName ?? "", /new\.example\.org/);
  });

  it("revokes a host for every server, also after a restart", async () => {
    const authority = await open();
    const elsewhere = await Revocations.open(store, clock, silentLogger);
    const told = new Promise<void>((resolve) => elsewhere.onChange(resolve));
    assert.equal(elsewhere.isRevoked(hostId, "01"), false);
    await authority.revoke(hostId);
    await told;
    assert.equal(elsewhere.isRevoked(hostId, "01"), true);
    assert.equal(elsewhere.isRevoked("0192f0c1-2345-7abc-8def-0123456789ac", "01"), false);
    await elsewhere.revokeSerial("ABCD", "stolen");
    const later = await Revocations.open(store, clock, silentLogger);
    assert.equal(later.isRevoked(hostId, "02"), true);
    assert.equal(later.isRevoked("0192f0c1-2345-7abc-8def-0123456789ac", "ABCD"), true);
    elsewhere.close();
    later.close();
  });
});

describe("createSecrets", () => {
  const secrets = createSecrets(random.bytes(32), random);
  it("opens what it sealed, never the same text twice", () => {
    const sealed = secrets.seal("päss");
    assert.match(sealed, /^sealed:v1:[A-Za-z0-9+/=]+$/);
    assert.equal(secrets.open(sealed), "päss");
    assert.notEqual(secrets.seal("päss"), sealed);
    assert.equal(secrets.open(secrets.seal("")), "");
  });
  it("opens nothing that was changed, cut or sealed with another key", () => {
    const sealed = secrets.seal("secret");
    const bytes = Buffer.from(sealed.slice(10), "base64");
    const changed = (at: number): string => {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 1;
      return `sealed:v1:${copy.toString("base64")}`;
    };
    const bad = [
      changed(0),
      changed(14),
      changed(bytes.length - 1),
      "sealed:v1:",
      sealed.slice(0, 20),
      "secret",
      createSecrets(random.bytes(32), random).seal("secret"),
    ];
    for (const text of bad) assert.throws(() => secrets.open(text), SheafError);
  });
});
