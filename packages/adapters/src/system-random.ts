/** The operating system's randomness behind the `Random` port: fit for keys and tokens. Handed out by `main.ts`. */
import { randomBytes } from "node:crypto";
import type { Random } from "@sheaf/base";

export const systemRandom: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) };
