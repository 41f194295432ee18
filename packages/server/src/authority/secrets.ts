/**
 * Secrets at rest: AES-256-GCM under a key that lies in a file of its own, outside the store, so that a copy of the store alone
 * tells nothing. Used by the API (user data, passwords), the gateway (opens them for the host that needs them) and the authority.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import type { Random } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import type { Secrets } from "../context.ts";

export const sealedPrefix = "sealed:v1:";
export const isSealed = (text: string): boolean => text.startsWith(sealedPrefix);

const nonceBytes = 12;
const tagBytes = 16;
export const secretKeyBytes = 32;

/** @param key 32 bytes. A nonce is random: safe for some 2^32 secrets under one key (NIST SP 800-38D, 8.3). */
export function createSecrets(key: Uint8Array, random: Random): Secrets {
  if (key.length !== secretKeyBytes)
    throw new SheafError("internal", `The key of the secrets must have ${secretKeyBytes} bytes, it has ${key.length}.`);
  return {
    seal(text) {
      const nonce = random.bytes(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      const sealed = Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return sealedPrefix + sealed.toString("base64");
    },
    open(sealed) {
      const bytes = Buffer.from(isSealed(sealed) ? sealed.slice(sealedPrefix.length) : "", "base64");
      try {
        const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
        decipher.setAuthTag(bytes.subarray(-tagBytes));
        return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString("utf8");
      } catch {
        throw new SheafError("internal", "A stored secret cannot be opened with this server's key.", {
          next: "Bring back the file keys/secrets.key that belongs to this store (it is part of every backup).",
        });
      }
    },
  };
}
