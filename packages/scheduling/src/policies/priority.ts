/**
 * Important machines get the emptiest hosts, unimportant ones fill up what is used already: each priority has a use of the host that it is
 * put nearest to, none for 1000, all for 0.
 */
import { fullerShare, type ScoringPolicy } from "../scoring-policy.ts";

const mostImportant = 1000;

export const priority: ScoringPolicy = {
  name: "priority",
  summary: "Important machines on the emptiest hosts, unimportant ones on the fullest that fit.",
  scorer: (world) => {
    const wanted = 1 - world.priority / mostImportant;
    return {
      score: (slot) => 1 - Math.abs(fullerShare(world, slot) - wanted),
      parts: (slot) => ({ use: fullerShare(world, slot), wanted }),
    };
  },
};
