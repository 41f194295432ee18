/** What another host's pulse left in a shared pool. Called for the server, which compares two looks: only a pulse that goes on is one. */
import type { PulseMessage } from "@sheaf/contract";
import { RecordId, type RecordOf } from "@sheaf/model";
import { z } from "zod";
import type { Files } from "./ports.ts";
import { pulseFile } from "./pulse.ts";

const Pulse = z.looseObject({ bootId: z.string(), sequence: z.int(), agentSilentMs: z.int() });

/** @returns `null` where there is none, or something else */
export async function readPulse(files: Files, pool: RecordOf<"pool"> | undefined, hostId: string): Promise<PulseMessage | null> {
  // It becomes part of a path.
  if (pool?.spec.type !== "shared" || !RecordId.safeParse(hostId).success) return null;
  const text = await files.readText(pulseFile(pool.spec.path, hostId));
  try {
    return text === null ? null : Pulse.parse(JSON.parse(text));
  } catch {
    return null; // half a file of a storage that tells no truth: no sign of life
  }
}
