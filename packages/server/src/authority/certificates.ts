/**
 * X.509 as Sheaf uses it: one root (ECDSA P-256), under it certificates of servers and of agents. Called by `site-authority.ts` alone.
 * Keys are made by WebCrypto with the operating system's randomness: a simulation brings an authority of its own.
 */
// @peculiar/x509 looks for it when it is loaded; it has nothing to import.
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { createHash, type webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { toHex, type Random } from "@sheaf/base";
import { IpAddress, SheafError } from "@sheaf/model";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
export const dayMs = 86_400_000;
/** Clocks of hosts may be behind. */
const backdatedMs = 3_600_000;

export interface KeyAndCertificate {
  /** PEM. */
  readonly certificate: string;
  /** PEM, PKCS #8. */
  readonly privateKey: string;
}

export interface Signer {
  readonly certificate: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

export interface Validity {
  readonly now: number;
  readonly days: number;
}

export async function makeRoot(name: string, validity: Validity, random: Random): Promise<KeyAndCertificate> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(random),
    name: subject(name),
    keys,
    signingAlgorithm: algorithm,
    ...period(validity),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString("pem"), privateKey: await exportKey(keys.privateKey) };
}

export async function loadSigner({ certificate, privateKey }: KeyAndCertificate): Promise<Signer> {
  const key = await crypto.subtle.importKey("pkcs8", x509.PemConverter.decodeFirst(privateKey), algorithm, false, ["sign"]);
  return { certificate: new x509.X509Certificate(certificate), key };
}

/** @param names addresses and DNS names under which it is reached */
/** Hosts are named by their ids, which are UUIDs: none can be called so. */
export const serverCommonName = "sheaf-server";

export async function makeServerCertificate(
  signer: Signer,
  names: readonly string[],
  validity: Validity,
  random: Random,
): Promise<KeyAndCertificate> {
  const keys = await generateKeys();
  // Both purposes: servers of one site dial each other.
  const certificate = await sign(signer, { commonName: serverCommonName, names, publicKey: keys.publicKey, validity, random });
  return { certificate, privateKey: await exportKey(keys.privateKey) };
}

/**
 * Signs what an agent asks for. Of the request only the key is taken; the names are the caller's, who knows them to be true.
 * QEMU uses the same certificate on both ends of a migration: hence both purposes.
 * @throws SheafError `invalid-input`
 */
export async function signAgentRequest(
  signer: Signer,
  request: { readonly pem: string; readonly hostId: string; readonly names: readonly string[] },
  validity: Validity,
  random: Random,
): Promise<string> {
  const broken = (why: string): SheafError =>
    new SheafError("invalid-input", `The certificate request cannot be used: ${why}.`, {
      next: "Send a PKCS #10 request in PEM with an ECDSA P-256 key.",
    });
  let parsed: x509.Pkcs10CertificateRequest;
  try {
    parsed = new x509.Pkcs10CertificateRequest(request.pem);
    if (!(await parsed.verify())) throw broken("its signature is wrong");
  } catch (error) {
    throw error instanceof SheafError ? error : broken("it is no certificate request");
  }
  const { algorithm: keyAlgorithm } = parsed.publicKey;
  if (keyAlgorithm.name !== "ECDSA" || !("namedCurve" in keyAlgorithm) || keyAlgorithm.namedCurve !== "P-256") {
    throw broken("its key is not ECDSA P-256");
  }
  const publicKey = await parsed.publicKey.export();
  return sign(signer, { commonName: request.hostId, names: request.names, publicKey, validity, random });
}

/** Whether it may be shown by the side that dials, too: those of servers made before there were several could not. */
export function isForClients(pem: string): boolean {
  const usages = new x509.X509Certificate(pem).getExtension(x509.ExtendedKeyUsageExtension)?.usages ?? [];
  return usages.includes(x509.ExtendedKeyUsage.clientAuth);
}

/** Names and addresses in a certificate. */
export function namesOf(pem: string): string[] {
  const extension = new x509.X509Certificate(pem).getExtension(x509.SubjectAlternativeNameExtension);
  return extension?.names.items.filter(({ type }) => type === "dns" || type === "ip").map(({ value }) => value) ?? [];
}

/** Ms since the epoch. */
export function periodOf(pem: string): { readonly notBefore: number; readonly notAfter: number } {
  const { notBefore, notAfter } = new x509.X509Certificate(pem);
  return { notBefore: notBefore.getTime(), notAfter: notAfter.getTime() };
}

export async function isSignedBy(pem: string, signer: Signer): Promise<boolean> {
  return new x509.X509Certificate(pem).verify({ publicKey: signer.certificate.publicKey, signatureOnly: true });
}

/** `sha256:<hex>` of the certificate's DER. */
export function fingerprintOf(pem: string): string {
  return `sha256:${createHash("sha256")
    .update(new Uint8Array(new x509.X509Certificate(pem).rawData))
    .digest("hex")}`;
}

/** What is neither an address nor a DNS name can stand in no certificate. */
export const isCertificateName = (name: string): boolean =>
  isAddress(name) || (name.length <= 253 && /^[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))*$/i.test(name));

const isAddress = (name: string): boolean => IpAddress.safeParse(name).success;

async function sign(
  signer: Signer,
  wanted: { commonName: string; names: readonly string[]; publicKey: webcrypto.CryptoKey; validity: Validity; random: Random },
): Promise<string> {
  const names = [...new Set(wanted.names)].map((value) => ({ type: isAddress(value) ? ("ip" as const) : ("dns" as const), value }));
  const usages: string[] = [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth];
  const { notBefore, notAfter } = period(wanted.validity);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(wanted.random),
    subject: subject(wanted.commonName),
    issuer: signer.certificate.subject,
    publicKey: wanted.publicKey,
    signingKey: signer.key,
    signingAlgorithm: algorithm,
    notBefore,
    // A certificate must not outlive the root.
    notAfter: notAfter < signer.certificate.notAfter ? notAfter : signer.certificate.notAfter,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usages),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
      await x509.SubjectKeyIdentifierExtension.create(wanted.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(signer.certificate),
    ],
  });
  return certificate.toString("pem");
}

/** As structured data, so that no character of a name can end it. */
const subject = (commonName: string): x509.JsonName => [{ CN: [commonName] }];

const period = ({ now, days }: Validity) => ({ notBefore: new Date(now - backdatedMs), notAfter: new Date(now + days * dayMs) });

/** 127 random bits: positive, as RFC 5280 (4.1.2.2) asks, and not to be guessed. */
function serialNumber(random: Random): string {
  const bytes = random.bytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return toHex(bytes);
}

const generateKeys = (): Promise<webcrypto.CryptoKeyPair> => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);

const exportKey = async (key: webcrypto.CryptoKey): Promise<string> =>
  x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
