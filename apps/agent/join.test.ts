/** Joining, against a TLS server that plays the API. */
import "reflect-metadata"; // @peculiar/x509 looks for it when it is loaded
import assert from "node:assert/strict";
import { createHash, type webcrypto } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import * as x509 from "@peculiar/x509";
import { NodeFiles } from "@sheaf/adapters";
import { readIdentity } from "@sheaf/agent";
import { joinHost, type JoinOptions } from "./join.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const hour = 3_600_000;
const period = { notBefore: new Date(Date.now() - hour), notAfter: new Date(Date.now() + 24 * hour) };
const keyPair = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);

let server: Server;
let directory: string;
let authority: string;
let fingerprint: string;
let root: webcrypto.CryptoKeyPair;
const asked: Record<string, unknown>[] = [];

async function issue(publicKey: webcrypto.CryptoKey, name: string): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${name}`,
    issuer: "CN=site",
    publicKey,
    signingKey: root.privateKey,
    signingAlgorithm: algorithm,
    ...period,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "ip", value: "127.0.0.1" }])],
  });
  return certificate.toString("pem");
}

async function answerTo(body: Record<string, unknown>): Promise<{ status: number; body: unknown }> {
  asked.push(body);
  if (body["token"] === "spent") return { status: 403, body: { code: "not-allowed", detail: "this token was used already", next: "make a new one" } };
  const foreign = body["token"] === "foreign";
  const request = new x509.Pkcs10CertificateRequest(String(body["certificateRequest"]));
  const key = foreign ? (await keyPair()).publicKey : await request.publicKey.export();
  return { status: 201, body: { hostId: "0192a000-0000-7000-8000-00000000000a", certificate: await issue(key, "host"), authority, agentPort: 7444 } };
}

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "sheaf-join-"));
  root = await keyPair();
  const self = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=site",
    keys: root,
    signingAlgorithm: algorithm,
    ...period,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  authority = self.toString("pem");
  fingerprint = `sha256:${createHash("sha256").update(Buffer.from(self.rawData)).digest("hex")}`;
  const own = await keyPair();
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", own.privateKey), "PRIVATE KEY");
  // As the real server does, the authority stands in the chain.
  server = createServer({ key, cert: `${await issue(own.publicKey, "server")}\n${authority}` }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer); // no encoding is set
    const answer = request.url === "/api/v1/host-joins" ? await answerTo(JSON.parse(Buffer.concat(chunks).toString())) : { status: 404, body: {} };
    response.writeHead(answer.status, { "content-type": "application/json" }).end(JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true, force: true });
});

function options(over: Partial<JoinOptions> = {}): JoinOptions {
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    serverUrl: `https://127.0.0.1:${port}`,
    token: "good",
    caFingerprint: fingerprint,
    dataDirectory: join(directory, "agent"),
    hostname: "h1",
    machineId: "m1",
    address: "10.0.0.1",
    files: new NodeFiles(),
    ...over,
  };
}

test("a host joins: its key is private and stays, the identity is found again", async () => {
  const identity = await joinHost(options());
  assert.equal(identity.serverUrl, "https://127.0.0.1:7444");
  assert.equal(identity.authority.replaceAll(/\s/g, ""), authority.replaceAll(/\s/g, ""));
  assert.deepEqual(await readIdentity(new NodeFiles(), join(directory, "agent")), identity);
  assert.equal((await stat(join(directory, "agent/identity.json"))).mode & 0o777, 0o600);
  assert.equal(await readFile(join(directory, "agent/certificate.pem"), "utf8"), identity.certificate);
  assert.deepEqual([asked[0]?.["hostname"], asked[0]?.["machineId"], asked[0]?.["address"]], ["h1", "m1", "10.0.0.1"]);
  assert.ok(!JSON.stringify(asked).includes("PRIVATE"));
});

test("a server with another authority gets no token", async () => {
  const before = asked.length;
  await assert.rejects(joinHost(options({ caFingerprint: `sha256:${"0".repeat(64)}` })), /does not show the certificate authority/);
  assert.equal(asked.length, before);
});

test("refusals say why, and leave nothing behind", async () => {
  const dataDirectory = join(directory, "other");
  await assert.rejects(joinHost(options({ token: "spent", dataDirectory })), {
    code: "not-allowed",
    message: "this token was used already",
    extra: { next: "make a new one" },
  });
  await assert.rejects(joinHost(options({ token: "foreign", dataDirectory })), /another key/);
  await assert.rejects(joinHost(options({ serverUrl: "https://127.0.0.1:1", dataDirectory })), /cannot be reached/);
  assert.equal(await readIdentity(new NodeFiles(), dataDirectory), null);
});
