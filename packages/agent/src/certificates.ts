/**
 * This host's identity on its disk: key, certificate and authority, also as the files QEMU's migration TLS wants. Requests are made
 * here; the key never leaves the host. Used by joining and by the agent, which renews the certificate at two thirds of its life.
 */
import { X509Certificate } from "node:crypto";
import "reflect-metadata"; // @peculiar/x509 looks for it when it is loaded

import * as x509 from "@peculiar/x509";
import { z } from "zod";
import type { Files, Identity } from "./ports.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

const StoredIdentity = z.looseObject({
  hostId: z.string(),
  serverUrl: z.string(),
  certificate: z.string(),
  privateKey: z.string(),
  authority: z.string(),
});

export interface CertificateRequest {
  /** PEM, PKCS #10. */
  readonly request: string;
  /** PEM, PKCS #8. */
  readonly privateKey: string;
}

/** @param name common name; the authority sets its own */
export async function makeCertificateRequest(name: string): Promise<CertificateRequest> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({ name: [{ CN: [name] }], keys, signingAlgorithm: algorithm });
  const privateKey = x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  return { request: request.toString("pem"), privateKey };
}

/** When to renew: two thirds of its life; ms since the epoch. */
export function renewalTime(certificate: string): number {
  const { notBefore, notAfter } = new x509.X509Certificate(certificate);
  return notBefore.getTime() + ((notAfter.getTime() - notBefore.getTime()) * 2) / 3;
}

/** Whether whoever connects to this address finds the certificate right. */
export const namesAddress = (certificate: string, address: string): boolean => new X509Certificate(certificate).checkIP(address) !== undefined;

/** Whether the certificate belongs to the key. */
export async function fits(certificate: string, privateKey: string): Promise<boolean> {
  const key = await crypto.subtle.importKey("pkcs8", x509.PemConverter.decodeFirst(privateKey), algorithm, true, ["sign"]);
  const { d: _secret, key_ops: _operations, ext: _extractable, ...own } = await crypto.subtle.exportKey("jwk", key);
  const published = await crypto.subtle.exportKey("jwk", await new x509.X509Certificate(certificate).publicKey.export());
  return own.x === published.x && own.y === published.y;
}

const identityFile = (dataDirectory: string): string => `${dataDirectory}/identity.json`;

/** @returns `null` before the host has joined. */
export async function readIdentity(files: Files, dataDirectory: string): Promise<Identity | null> {
  const text = await files.readText(identityFile(dataDirectory));
  return text === null ? null : StoredIdentity.parse(JSON.parse(text));
}

/** One file, so that key and certificate never stand apart; private to root. */
export async function writeIdentity(files: Files, dataDirectory: string, identity: Identity): Promise<void> {
  await files.makeDirectory(dataDirectory, 0o711);
  await files.writeAtomic(identityFile(dataDirectory), JSON.stringify(identity), { mode: 0o600 });
  // For people and their tools: when does it end, has this host joined?
  await files.writeAtomic(`${dataDirectory}/certificate.pem`, identity.certificate, { mode: 0o644 });
}

/** The names under which QEMU looks for them (qemu.conf: default_tls_x509_cert_dir); the same pair serves both ends of a migration. */
export async function writeMigrationCertificates(files: Files, directory: string, identity: Identity): Promise<void> {
  await files.makeDirectory(directory, 0o755);
  const { authority, certificate, privateKey } = identity;
  const content = {
    "ca-cert.pem": authority,
    "server-cert.pem": certificate,
    "server-key.pem": privateKey,
    "client-cert.pem": certificate,
    "client-key.pem": privateKey,
  };
  for (const [name, text] of Object.entries(content)) {
    const path = `${directory}/${name}`;
    if ((await files.readText(path)) !== text) await files.writeAtomic(path, text, { mode: name.endsWith("key.pem") ? 0o640 : 0o644 });
  }
}

export async function haveMigrationCertificates(files: Files, directory: string): Promise<boolean> {
  const names = ["ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"];
  const found = await Promise.all(names.map((name) => files.facts(`${directory}/${name}`)));
  return found.every((facts) => facts !== null);
}
