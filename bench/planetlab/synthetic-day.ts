/**
 * Days that no one recorded, so that a planner is not tuned to the recorded ones: `office` machines rise and fall with one of three working
 * days; `bursts` are idle but for a while now and then. The same seed gives the same day.
 */
import { seededRandom } from "../random.ts";
import { type Day, stepsPerDay } from "./trace.ts";

export type Kind = "office" | "bursts";

export function syntheticDay(kind: Kind, machines: number, seed: number): Day {
  const random = seededRandom(seed);
  const make = kind === "office" ? officeMachine : burstMachine;
  return { name: kind, shares: Array.from({ length: machines }, () => make(random).map((share) => Math.min(1, Math.max(0.01, share)))) };
}

function officeMachine(random: () => number): Float64Array {
  const noon = stepsPerDay * (0.3 + 0.2 * Math.floor(3 * random()));
  const base = 0.02 + 0.1 * random();
  const height = 0.05 + 0.35 * random();
  let drift = 0;
  return Float64Array.from({ length: stepsPerDay }, (_, step) => {
    drift = 0.8 * drift + 0.04 * (random() - 0.5);
    const day = Math.max(0, Math.cos(((step - noon) / stepsPerDay) * 2 * Math.PI));
    return base + height * day + drift + 0.1 * (random() - 0.5);
  });
}

function burstMachine(random: () => number): Float64Array {
  const base = 0.02 + 0.06 * random();
  const bursts = 1 + Math.floor(8 * random());
  let left = 0;
  let height = 0;
  return Float64Array.from({ length: stepsPerDay }, () => {
    if (left > 0) left -= 1;
    else if (random() < bursts / stepsPerDay) {
      left = 3 + Math.floor(20 * random());
      height = 0.2 + 0.7 * random();
    }
    return base + (left > 0 ? height : 0) + 0.04 * (random() - 0.5);
  });
}
