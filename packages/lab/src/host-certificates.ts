/**
 * One throw-away authority for a lab and one certificate for each host, for tests of libvirt's own TLS. Sheaf's agent writes its
 * own certificates into /etc/libvirt/pki; this is only for labs without an agent (`certificates: true`). Called by lab-host.ts.
 */
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { must } from "./command.ts";

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** Writes ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem into `target`; kept while they fit. */
export async function ensureCertificates(authority: string, target: string, name: string, address: string): Promise<void> {
  const ca = { key: join(authority, "ca-key.pem"), certificate: join(authority, "ca-cert.pem") };
  await mkdir(authority, { recursive: true });
  await mkdir(target, { recursive: true });
  if (!existsSync(ca.certificate)) {
    const extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"];
    await must([
      "openssl",
      "req",
      "-x509",
      ...NEW_KEY,
      "-days",
      "3650",
      "-subj",
      "/CN=lab-ca",
      "-keyout",
      ca.key,
      "-out",
      ca.certificate,
      ...extensions,
    ]);
  }
  const made = join(target, "made-for");
  const purpose = `${name} ${address}\n${await readFile(ca.certificate, "utf8")}`;
  if ((await readFile(made, "utf8").catch(() => "")) === purpose) return;
  const key = join(target, "server-key.pem");
  const certificate = join(target, "server-cert.pem");
  const request = join(target, "request.pem");
  const extensions = join(target, "extensions");
  await must(["openssl", "req", ...NEW_KEY, "-subj", `/CN=${name}`, "-keyout", key, "-out", request]);
  await writeFile(
    extensions,
    `subjectAltName=DNS:${name},IP:${address}\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n`,
  );
  const signing = ["-CA", ca.certificate, "-CAkey", ca.key, "-CAcreateserial", "-days", "3650", "-extfile", extensions];
  await must(["openssl", "x509", "-req", "-in", request, ...signing, "-out", certificate]);
  // QEMU's names, and those that a libvirt client looks for under `?pkipath=`.
  for (const name of ["client-key.pem", "clientkey.pem"]) await copyFile(key, join(target, name));
  for (const name of ["client-cert.pem", "clientcert.pem"]) await copyFile(certificate, join(target, name));
  for (const name of ["ca-cert.pem", "cacert.pem"]) await copyFile(ca.certificate, join(target, name));
  await rm(request);
  await rm(extensions);
  await writeFile(made, purpose);
}
