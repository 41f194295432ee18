/** Advice on machines that live in known ways, and what must hold whatever they do. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { joinUse, measureUse, type MachineUse } from "./machine-use.ts";
import { headroom, rightSize, type RightSize } from "./right-size.ts";
import { cpusFor, memoryFor } from "./sensible-sizes.ts";
import { sizeWords } from "./size-words.ts";
import { gib, type LifeAt, rowsADay, useRows } from "./testing/use-rows.ts";

const given = { cpus: 8, memoryBytes: 8 * gib };
const day = (row: number): number => (row % rowsADay) / rowsADay;
const calm: LifeAt = { cpu: 0, neededBytes: gib / 4, diskBytesPerSecond: 3000, netBytesPerSecond: 100 };

/** What it is advised after two weeks. */
const after = (life: (row: number) => LifeAt | null, days = 14, size = given): RightSize => rightSize(measureUse(useRows(days, life)), size);

describe("patterns", () => {
  test("constant use far below its size: too large, with room above the peak", () => {
    const advice = after(() => ({ cpu: 1.5, neededBytes: 2 * gib }));
    assert.deepEqual(advice, { verdict: "too-large", suggested: { cpus: 2, memoryBytes: 2.5 * gib }, confidence: "high" });
  });

  test("constant use near its size: right", () => {
    assert.equal(after(() => ({ cpu: 5.5, neededBytes: 6 * gib })).verdict, "right");
  });

  test("busy by day, quiet at night: sized for the day", () => {
    const advice = after((row) => ({ cpu: day(row) > 0.35 && day(row) < 0.75 ? 3 : 0.2, neededBytes: 6 * gib }));
    assert.deepEqual([advice.verdict, advice.suggested.cpus], ["too-large", 4]);
  });

  test("what it does for three hours once a week counts", () => {
    const weekly = (row: number): LifeAt => ({ cpu: row % (7 * rowsADay) < 36 ? 6 : 0.3, neededBytes: 6 * gib });
    assert.equal(after(weekly).verdict, "right");
    assert.equal(after((row) => ({ ...weekly(row), cpu: 0.3 })).suggested.cpus, 1);
  });

  test("ten busy seconds in every five minutes keep their vCPUs; once a day they do not", () => {
    const bursts = (every: number) => (row: number) => ({ cpu: 0.4, cpuGreatest: row % every === 0 ? 6.5 : 0.5, neededBytes: 6 * gib });
    assert.equal(after(bursts(1)).suggested.cpus, 8);
    assert.equal(after(bursts(rowsADay)).suggested.cpus, 1);
  });

  test("bursts up to all its vCPUs are no reason for more, five per cent of the time at the limit are", () => {
    assert.equal(after(() => ({ cpu: 2, cpuGreatest: 8, neededBytes: 6 * gib })).verdict, "right");
    const advice = after((row) => ({ cpu: day(row) < 0.06 ? 7.9 : 1, neededBytes: 6 * gib }));
    assert.deepEqual([advice.verdict, advice.suggested.cpus], ["too-small", 12]);
  });

  test("a guest that fills its memory: too small, and more memory helps", () => {
    const advice = after(() => ({ cpu: 5.5, neededBytes: 7.6 * gib }));
    assert.deepEqual([advice.verdict, advice.suggested], ["too-small", { cpus: 8, memoryBytes: 10 * gib }]);
  });

  test("short of one, rich of the other: too small, and both are said", () => {
    assert.deepEqual(
      after(() => ({ cpu: 1, neededBytes: 7.8 * gib })),
      {
        verdict: "too-small",
        suggested: { cpus: 2, memoryBytes: 10 * gib },
        confidence: "high",
      },
    );
  });

  test("nothing but a log and the network's chatter: idle; one that only sends is not, nor one that works an hour a day", () => {
    assert.equal(after(() => ({ ...calm, cpu: 0.01 })).verdict, "idle");
    assert.equal(after((row) => ({ ...calm, cpu: row % rowsADay < 2 ? 1 : 0.01 })).verdict, "idle");
    assert.equal(after((row) => ({ ...calm, cpu: row % rowsADay < 12 ? 1 : 0.01 })).verdict, "too-large");
    assert.equal(after(() => ({ ...calm, netBytesPerSecond: 50_000 })).verdict, "too-large");
    assert.equal(after(() => ({ ...calm, diskBytesPerSecond: 50_000 })).verdict, "too-large");
  });

  test("growing use: sized for what it is now and more, and the growth is named", () => {
    const use = measureUse(useRows(14, (row) => ({ cpu: 1 + row / rowsADay / 14, neededBytes: 2 * gib + (row / rowsADay) * 0.1 * gib })));
    const advice = rightSize(use, given);
    assert.deepEqual(advice.suggested, { cpus: 3, memoryBytes: 5 * gib });
    assert.match(sizeWords(use, given, advice).risks.join("; "), /use of CPU grows: by 40 %.*use of memory grows/s);
  });
});

describe("what is not known is said", () => {
  test("fewer than three days: nothing; fewer than seven: nothing is taken away, but what is too small is said", () => {
    const lazy = (): LifeAt => ({ cpu: 0.5 });
    const busy = (): LifeAt => ({ cpu: 7.9, neededBytes: 6 * gib });
    assert.deepEqual(after(busy, 2.9), { verdict: "unknown", suggested: given, confidence: "none" });
    assert.deepEqual(after(lazy, 6.9), { verdict: "unknown", suggested: given, confidence: "low" });
    assert.deepEqual(after(busy, 3), { verdict: "too-small", suggested: { cpus: 12, memoryBytes: 8 * gib }, confidence: "low" });
    assert.deepEqual(after((row) => (row % 4 === 0 ? null : lazy()), 14).confidence, "medium");
    assert.equal(after(lazy, 7).verdict, "too-large");
    const use = measureUse(useRows(2, lazy));
    assert.match(sizeWords(use, given, rightSize(use, given)).reasons.join(), /figures of 2.0 days; nothing is said before 3 days/);
  });

  test("days are those with figures: a machine that was off has none", () => {
    assert.equal(measureUse(useRows(14, (row) => (row % 2 === 0 ? { cpu: 1 } : null))).days, 7);
    assert.equal(measureUse(useRows(14, () => null)).days, 0);
    assert.equal(rightSize(measureUse(useRows(14, () => null)), given).verdict, "unknown");
  });

  test("a guest without balloon statistics: what it never touched may go, and its memory is never called too small", () => {
    const silent = (residentBytes: number): MachineUse => measureUse(useRows(14, () => ({ cpu: 6, residentBytes }), { silent: true }));
    const little = rightSize(silent(3 * gib), given);
    assert.deepEqual([little.verdict, little.suggested.memoryBytes], ["too-large", 4 * gib]);
    assert.match(sizeWords(silent(3 * gib), given, little).risks.join(), /only what its guest has touched is known/);
    const all = rightSize(silent(8.2 * gib), given);
    assert.deepEqual([all.verdict, all.suggested.memoryBytes], ["right", 8 * gib]);
    assert.match(sizeWords(silent(8.2 * gib), given, all).risks.join(), /cannot be told without statistics of the balloon/);
    assert.equal(measureUse(useRows(14, () => ({ cpu: 6, residentBytes: 0 }), { silent: true })).memory.known, "none");
  });

  test("vCPUs that wait for their host: named, and what they wanted is not taken away", () => {
    const use = measureUse(useRows(14, () => ({ cpu: 1.5, cpuWaiting: 3, neededBytes: 6 * gib })));
    const advice = rightSize(use, given);
    assert.equal(advice.suggested.cpus, 6);
    assert.match(sizeWords(use, given, advice).risks.join(), /waited for 3.00 CPUs of their host/);
  });

  test("the balloon's least amount is never passed", () => {
    const use = measureUse(useRows(14, () => ({ cpu: 6, neededBytes: gib })));
    assert.equal(rightSize(use, { ...given, minimumMemoryBytes: 4 * gib }).suggested.memoryBytes, 4 * gib);
  });
});

/** Any use, by its figures. */
const uses = fc
  .record({
    days: fc.double({ min: 0, max: 14, noNaN: true }),
    sustained: fc.double({ min: 0, max: 16, noNaN: true }),
    burst: fc.double({ min: 0, max: 16, noNaN: true }),
    bytes: fc.double({ min: 0, max: 16 * gib, noNaN: true }),
    moreBytes: fc.double({ min: 0, max: 4 * gib, noNaN: true }),
    known: fc.constantFrom("guest", "resident", "none" as const),
  })
  .map(({ days, sustained, burst, bytes, moreBytes, known }): MachineUse => ({
    days,
    cpu: { sustained, peak: sustained + burst, waiting: 0 },
    memory: { known, sustainedBytes: bytes, peakBytes: bytes + moreBytes },
    activity: { cpu: sustained, diskBytesPerSecond: 1e6, netBytesPerSecond: 1e6 },
  }));
const sizes = fc.record({
  cpus: fc.integer({ min: 1, max: 48 }),
  memoryBytes: fc.integer({ min: 2, max: 256 }).map((eighths) => (eighths * gib) / 8),
});

describe("properties", () => {
  test("what is taken away leaves the peak and headroom", () => {
    fc.assert(
      fc.property(uses, sizes, (use, size) => {
        const { suggested } = rightSize(use, size);
        if (suggested.cpus < size.cpus) assert.ok(suggested.cpus >= use.cpu.peak * headroom);
        if (suggested.memoryBytes < size.memoryBytes) assert.ok(suggested.memoryBytes >= use.memory.peakBytes * headroom);
      }),
    );
  });

  test("the peak covers 99.5 % of the means, and 95 % of all samples", () => {
    const life = fc.array(fc.record({ cpu: fc.double({ min: 0, max: 4, noNaN: true }), burst: fc.double({ min: 0, max: 4, noNaN: true }) }), {
      minLength: 30,
      maxLength: 300,
    });
    fc.assert(
      fc.property(life, (rows) => {
        const { cpu } = measureUse(
          useRows(rows.length / rowsADay, (row) => ({ cpu: rows[row]?.cpu ?? 0, cpuGreatest: (rows[row]?.cpu ?? 0) + (rows[row]?.burst ?? 0) })),
        );
        const above = (share: number, figures: number[]): void =>
          assert.ok(figures.filter((figure) => figure > cpu.peak).length <= figures.length * (1 - share) + 1e-9);
        above(
          0.995,
          rows.map((row) => row.cpu),
        );
        // Of 30 samples in each row at most all but one are the greatest.
        above(
          0.95,
          rows.flatMap((row) => [...Array<number>(29).fill(row.cpu + row.burst), row.cpu]),
        );
      }),
    );
  });

  test("who uses more is never advised less", () => {
    fc.assert(
      fc.property(uses, sizes, fc.double({ min: 1, max: 3, noNaN: true }), fc.option(sizes, { nil: undefined }), (use, size, factor, suggested) => {
        const more: MachineUse = {
          ...use,
          cpu: { ...use.cpu, sustained: use.cpu.sustained * factor, peak: use.cpu.peak * factor },
          memory: { ...use.memory, sustainedBytes: use.memory.sustainedBytes * factor, peakBytes: use.memory.peakBytes * factor },
        };
        const earlier = suggested && { given: size, suggested };
        const [less, greater] = [rightSize(use, size, earlier), rightSize(more, size, earlier)];
        assert.ok(greater.suggested.cpus >= less.suggested.cpus);
        assert.ok(greater.suggested.memoryBytes >= less.suggested.memoryBytes);
      }),
    );
  });

  test("who follows it is told that it is right", () => {
    fc.assert(
      fc.property(uses, sizes, (use, size) => {
        const { suggested, verdict } = rightSize(use, size);
        if (verdict === "idle" || verdict === "unknown") return;
        const next = rightSize(use, suggested);
        assert.deepEqual([next.verdict, next.suggested], [next.verdict === "unknown" ? "unknown" : "right", suggested]);
      }),
    );
  });

  test("the order of the rows, and when they were, change nothing", () => {
    const cpus = fc.array(fc.double({ min: 0, max: 8, noNaN: true }), { minLength: 50, maxLength: 400 });
    fc.assert(
      fc.property(cpus, fc.nat(), (figures, shift) => {
        const of = (list: readonly number[]): MachineUse =>
          measureUse(useRows(list.length / rowsADay, (row) => ({ cpu: list[row] ?? 0, neededBytes: (list[row] ?? 0) * gib })));
        const turned = figures.map((_, row) => figures[(row + shift) % figures.length] ?? 0);
        assert.deepEqual(of(turned), of(figures));
        assert.deepEqual(of(figures.toSorted((one, other) => one - other)), of(figures));
      }),
    );
  });

  test("noise about a border does not make the advice flip; need that rises is followed at once", () => {
    const at = (peak: number): MachineUse => ({
      days: 14,
      cpu: { sustained: peak, peak, waiting: 0 },
      memory: { known: "guest", sustainedBytes: 6 * gib, peakBytes: 6 * gib },
      activity: { cpu: peak },
    });
    // 4 ÷ 1.2: below it four vCPUs do, above it six.
    let flips = 0;
    let advice = rightSize(at(3.3), given);
    for (let today = 0; today < 100; today += 1) {
      const next = rightSize(at(today % 2 ? 3.3 : 3.36), given, { given, suggested: advice.suggested });
      if (next.suggested.cpus !== advice.suggested.cpus) flips += 1;
      advice = next;
    }
    assert.deepEqual([flips, advice.suggested.cpus], [1, 6]);
    assert.equal(rightSize(at(2.8), given, { given, suggested: advice.suggested }).suggested.cpus, 4);
    assert.equal(rightSize(at(3.3), given, { given: { ...given, cpus: 16 }, suggested: { ...given, cpus: 6 } }).suggested.cpus, 4, "of another size");
  });

  test("two servers' halves together are never advised less than the whole", () => {
    const cpus = fc.array(fc.double({ min: 0, max: 8, noNaN: true }), { minLength: 20, maxLength: 200 });
    fc.assert(
      fc.property(cpus, cpus, (early, late) => {
        const of = (list: readonly number[]): MachineUse =>
          measureUse(useRows(list.length / rowsADay, (row) => ({ cpu: list[row] ?? 0, neededBytes: (list[row] ?? 0) * gib })));
        const [whole, joined] = [of([...early, ...late]), joinUse(of(early), of(late))];
        assert.ok(Math.abs(joined.days - whole.days) < 1e-9);
        assert.ok(joined.cpu.peak >= whole.cpu.peak && joined.cpu.sustained >= whole.cpu.sustained);
        assert.ok(joined.memory.peakBytes >= whole.memory.peakBytes && joined.activity.cpu >= whole.activity.cpu);
      }),
    );
  });
});

test("sizes are whole, rise with what is asked for, and are never less", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.01, max: 512, noNaN: true }), fc.double({ min: 1, max: 4096 * gib, noNaN: true }), (cpus, bytes) => {
      assert.ok(cpusFor(cpus) >= cpus && cpusFor(cpus) <= Math.max(1, cpus * 2));
      assert.ok(memoryFor(bytes) >= bytes && memoryFor(bytes) % (128 * 2 ** 20) === 0);
      assert.ok(memoryFor(bytes) <= Math.max(256 * 2 ** 20, bytes * 1.5));
      assert.ok(memoryFor(bytes * 1.1) >= memoryFor(bytes) && cpusFor(cpus * 1.1) >= cpusFor(cpus));
    }),
  );
});
