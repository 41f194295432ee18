import assert from "node:assert/strict";
import { test } from "node:test";
import type { View } from "./experiment.ts";
import { type HostModel, g4, g5 } from "./fleet.ts";
import { overByRegression, overThreshold, placeBySize, powerAware } from "./power-aware-policy.ts";
import { lineAt } from "./regression.ts";

test("the line of least squares, by hand", () => {
  assert.equal(lineAt(4, [1, 2, 3]), 4);
  assert.equal(lineAt(4, [5, 5, 5]), 5);
  // Mean 2 at x = 2, slope ((−1)·1 + 0·3 + 1·2) / 2 = 0.5.
  assert.equal(lineAt(5, [1, 3, 2]), 3.5);
});

const view = (hosts: readonly HostModel[], machines: readonly { on: number; ramMb: number; demand: readonly number[] }[]): View => ({
  hosts,
  machines: machines.map(({ ramMb }) => ({ mips: 2500, ramMb })),
  seen: (machine) => Float64Array.from(machines[machine]?.demand ?? []),
  hostOf: Int32Array.from(machines, ({ on }) => on),
});
/** What was asked for at time 0 was not seen. */
const since = (...demand: number[]) => [0, ...demand];

test("machines are placed by their size, where power grows least: on empty hosts as long as there are some", () => {
  const sized = (mips: number) => ({ mips, ramMb: 870, demand: new Float64Array() });
  const hosts = [g4, g5, g4, g5];
  // 2000 MIPS are more than a core of the G4 gives; the third goes to the G5 that is less full then.
  assert.deepEqual([...placeBySize([sized(2500), sized(2000), sized(2000), sized(1000)], hosts)], [1, 3, 3, 0]);
  assert.throws(() => placeBySize([sized(2500), sized(2500), sized(2500)], [g5]), /Machine 2 finds no host/);
});

test("THR: an overloaded host gives up machines with little RAM until it is so no more; the least loaded one is emptied", () => {
  const machines = [
    { on: 0, ramMb: 1740, demand: since(2000) },
    { on: 0, ramMb: 613, demand: since(1000) },
    { on: 0, ramMb: 870, demand: since(1500) },
    { on: 1, ramMb: 1740, demand: since(2000) },
    { on: 2, ramMb: 870, demand: since(300) },
  ];
  // 4500 of 5320 MIPS are 85 %. Host 2 grows by 7.2 W with machine 1, host 1 by 10.4 W; then host 2 is emptied, machine 1 and all, as in CloudSim.
  assert.deepEqual(powerAware(overThreshold(0.8))(view([g5, g5, g5], machines)), [
    { machine: 1, host: 2 },
    { machine: 1, host: 1 },
    { machine: 4, host: 1 },
  ]);
  assert.deepEqual(powerAware(overThreshold(0.9))(view([g5, g5], machines.slice(0, 4))), []);
});

test("LRR: a host is overloaded when its line reaches the end one step on, with a factor; before ten loads are known, above 70 %", () => {
  /** Of two machines on one host of two, the second asks for more with each step; what moves */
  const two = (steps: number, first: number, perStep: number) => {
    const demand = (from: number, more: number) => since(...Array.from({ length: steps }, (_, step) => from + more * step));
    const machines = [
      { on: 0, ramMb: 613, demand: demand(first, 0) },
      { on: 0, ramMb: 870, demand: demand(1500, perStep) },
    ];
    return powerAware(overByRegression(1.2))(view([g5, g5], machines));
  };
  // 3000 + 10 × 130 are 81 % of 5320, with the factor 97 %; 3000 + 10 × 150 are 85 %, with the factor 101 %.
  assert.deepEqual(two(10, 1500, 130), []);
  assert.deepEqual(two(10, 1500, 150), [{ machine: 0, host: 1 }]);
  // 3700 are 69.5 %, 3800 are 71.4 %.
  assert.deepEqual(two(5, 2200, 0), []);
  assert.deepEqual(two(5, 2300, 0), [{ machine: 0, host: 1 }]);
});
