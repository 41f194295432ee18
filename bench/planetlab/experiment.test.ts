import assert from "node:assert/strict";
import { test } from "node:test";
import { type Policy, gone, play } from "./experiment.ts";
import { type Machine, g4, g5 } from "./fleet.ts";

const near = (figure: number, expected: number): void =>
  assert.ok(Math.abs(figure - expected) <= 1e-9 * Math.max(1, Math.abs(expected)), `${figure}, not ${expected}`);
const stays: Policy = () => [];
const joulesPerKwh = 3_600_000;
const machine = (mips: number, ramMb: number, ...demand: number[]): Machine => ({ mips, ramMb, demand: Float64Array.from(demand) });
const experiment = { hosts: [g5, g5], initial: Int32Array.of(0), idleLeave: false };

test("a host draws by its load, one without machines nothing; the account begins with the first decision", () => {
  // A tenth of 5320 MIPS: 97 W, from 300 to 900 s.
  const { energyKwh, activeHosts, migrations, unserved } = play({ ...experiment, machines: [machine(1000, 613, 532, 532, 532)] }, stays);
  near(energyKwh * joulesPerKwh, 97 * 600);
  assert.deepEqual({ activeHosts, migrations, unserved }, { activeHosts: 1, migrations: 0, unserved: 0 });
});

test("between two looks power goes in a straight line", () => {
  // From a tenth (97 W) to three tenths (105 W) of its load, and from there on.
  const { energyKwh } = play({ ...experiment, machines: [machine(2000, 613, 532, 532, 1596)] }, stays);
  assert.ok(Math.abs(energyKwh * joulesPerKwh - (101 + 105) * 300) < 5, "CloudSim's clock is a tenth of a second ahead");
});

test("while it migrates, a machine is on both hosts' books and gets a tenth less: by hand", () => {
  let asked = 0;
  const onceToB: Policy = ({ seen }) => {
    asked += 1;
    assert.equal(seen(0).length, asked + 1, "nothing of what is to come");
    return asked === 1 ? [{ machine: 0, host: 1 }] : [];
  };
  const measures = play({ ...experiment, machines: [machine(1000, 613, 532, 532, 532)] }, onceToB);
  const seconds = 613 / 62.5; // half of 125 MB/s
  // B draws 93.7 + 3.3 / 10 W for the hundredth that is booked, meanwhile A what it did before.
  near(measures.energyKwh * joulesPerKwh, 97 * 600 + 94.03 * seconds);
  near(measures.pdm, (0.1 * 532 * seconds) / (532 * 600));
  near(measures.slatah, seconds / (600 + seconds));
  near(measures.slav, measures.slatah * measures.pdm);
  assert.equal(measures.full, 0);
  assert.equal(measures.migrations, 1);
});

test("a host that is asked for more than it has gives all the same part, and is at 100 %", () => {
  const machines = [machine(2500, 870, 2500, 2500), machine(2500, 870, 2500, 2500), machine(2000, 870, 1650, 1650)];
  const { unserved, full, slatah, energyKwh, pdm } = play({ ...experiment, initial: Int32Array.of(0, 0, 0), machines }, stays);
  near(unserved, 1 - 5320 / 6650);
  assert.deepEqual({ full, slatah, pdm }, { full: 1, slatah: 1, pdm: 0 });
  near(energyKwh * joulesPerKwh, 135 * 300);
});

test("a machine gets no more than one core gives", () => {
  const { unserved } = play({ hosts: [g4], initial: Int32Array.of(0), idleLeave: false, machines: [machine(2500, 870, 2500, 2500)] }, stays);
  near(unserved, 1 - 1860 / 2500);
});

test("a machine that asks for nothing twice in a row leaves, where it is played like that, and asks for nothing any more", () => {
  const machines = [machine(1000, 613, 500, 500, 0, 500, 0, 0, 500), machine(1000, 613, 500, 500, 500, 500, 500, 500, 500)];
  const seen: number[][] = [];
  const looks: Policy = ({ hostOf }) => {
    seen.push([...hostOf]);
    return [];
  };
  play({ ...experiment, initial: Int32Array.of(0, 1), idleLeave: true, machines }, looks);
  assert.deepEqual(
    seen.map(([first]) => first),
    [0, 0, 0, gone, gone, gone],
  );
  assert.ok(seen.every(([, second]) => second === 1));
  seen.length = 0;
  play({ ...experiment, initial: Int32Array.of(0, 1), machines }, looks);
  assert.ok(seen.every(([first]) => first === 0));
});
