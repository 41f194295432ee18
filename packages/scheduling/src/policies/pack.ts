/** The fullest host that still fits: leaves others empty, so that large machines fit and idle hosts can be powered down. */
import { cpuShare, fullerShare, memoryShare, type ScoringPolicy } from "../scoring-policy.ts";

export const pack: ScoringPolicy = {
  name: "pack",
  summary: "The host whose fuller resource, CPU or memory, is fullest with the machine on it.",
  scorer: (world) => ({
    score: (slot) => fullerShare(world, slot),
    parts: (slot) => ({ cpu: cpuShare(world, slot), memory: memoryShare(world, slot) }),
  }),
};
