/**
 * Passwords: scrypt (RFC 7914) with its cost kept beside the hash, so that the cost can grow later. Called at sign-in, at the password
 * route and at first start. Never logs or returns a password; a wrong one costs as long as a right one.
 */
import { scrypt, timingSafeEqual } from "node:crypto";
import type { Random } from "@sheaf/base";
import { SheafError } from "@sheaf/model";

/** 32 MiB and some 60 ms a try (OWASP's second choice for scrypt: N = 2^15, r = 8, p = 3 costs more memory traffic than a login is worth). */
export const defaultPasswordCost = 2 ** 15;
const blockSize = 8;
const parallelism = 1;
const hashBytes = 32;

/** @returns `scrypt$N$r$p$salt$hash`, salt and hash in base64url */
export async function hashPassword(password: string, random: Random, cost: number = defaultPasswordCost): Promise<string> {
  const salt = Buffer.from(random.bytes(16));
  const hash = await derive(password, salt, cost, blockSize, parallelism);
  return ["scrypt", cost, blockSize, parallelism, salt.toString("base64url"), hash.toString("base64url")].join("$");
}

/** @returns false for a wrong password and for a hash that cannot be read */
export async function verifyPassword(password: string, stored: string): Promise<boolean> {
  const [scheme, cost, block, parallel, salt, hash] = stored.split("$");
  if (scheme !== "scrypt" || salt === undefined || hash === undefined) return false;
  const wanted = Buffer.from(hash, "base64url");
  const found = await derive(password, Buffer.from(salt, "base64url"), Number(cost), Number(block), Number(parallel));
  return wanted.length === found.length && timingSafeEqual(wanted, found);
}

function derive(password: string, salt: Buffer, cost: number, block: number, parallel: number): Promise<Buffer> {
  return new Promise((resolve, reject) =>
    scrypt(password.normalize("NFC"), salt, hashBytes, { N: cost, r: block, p: parallel, maxmem: 256 * cost * block }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    ),
  );
}

/** Lets few derivations run at once and few wait, so that a flood of sign-ins cannot eat the server's memory and threads. */
export class PasswordGate {
  readonly #parallel: number;
  readonly #waitingLimit: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor({ parallel = 2, waiting = 64 }: { readonly parallel?: number; readonly waiting?: number } = {}) {
    this.#parallel = parallel;
    this.#waitingLimit = waiting;
  }

  /** @throws SheafError `throttled` when too many wait already */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#parallel) {
      if (this.#waiting.length >= this.#waitingLimit)
        throw new SheafError("throttled", "Too many people are signing in at this moment.", {
          next: "Try again in a few seconds.",
          retryAfterMs: 3000,
        });
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next(); // the place is handed on
    }
  }
}
