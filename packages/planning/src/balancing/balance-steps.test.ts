import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nextBalanceSteps, type MoveSight, type PlannedMove } from "./balance-steps.ts";

const move = (vm: string, from: string, to: string, after: number[] = []): PlannedMove => ({
  vm,
  name: vm,
  from,
  to,
  reason: "",
  after,
  state: "waiting",
});

const calm = { budget: { refusal: () => null, spend: () => {} }, over: null, now: 1 };

test("moves begin as their order and the hosts' places allow, and go on when others have ended", () => {
  const at = new Map([["a", "h1"], ["b", "h1"], ["c", "h2"]]); // prettier-ignore
  let moves: readonly PlannedMove[] = [move("a", "h1", "h2"), move("b", "h1", "h3"), move("c", "h2", "h1", [0])];
  const moving = new Set<string>();
  const next = () => {
    const steps = nextBalanceSteps({
      moves,
      look: (vm): MoveSight => ({ at: at.get(vm) ?? "", moving: moving.has(vm) }),
      places: () => 1,
      refusal: () => null,
      ...calm,
    });
    ({ moves } = steps);
    for (const index of steps.start) moving.add(moves[index]?.vm ?? "");
    return steps;
  };
  const arrive = (vm: string): void => {
    moving.delete(vm);
    at.set(vm, moves.find((each) => each.vm === vm)?.to ?? "");
  };
  assert.deepEqual(next().start, [0], "h1 has one place");
  assert.deepEqual(next().start, []);
  arrive("a");
  assert.deepEqual(next().start, [1], "h1 is taken again: c waits");
  arrive("b");
  assert.deepEqual(next().start, [2]);
  arrive("c");
  assert.deepEqual([next().ended, moves.map(({ state }) => state)], [true, ["moved", "moved", "moved"]]);
});

const once = (of: PlannedMove, sight: MoveSight, refusal: string | null = null, over: string | null = null) =>
  nextBalanceSteps({ moves: [of], look: () => sight, places: () => 2, refusal: () => refusal, ...calm, over }).moves[0];

test("what turns out to be impossible is left, with why", () => {
  const waiting = move("a", "h1", "h2");
  const moving = { ...waiting, state: "moving" as const };
  assert.equal(once(waiting, { at: "h1", moving: false }, "h2 is full")?.why, "h2 is full");
  assert.equal(once(waiting, { moving: false })?.why, "it is gone");
  assert.equal(once(waiting, { at: "h3", moving: false })?.why, "somebody else moved it meanwhile");
  assert.equal(once(moving, { at: "h1", moving: false, failure: "the link broke" })?.why, "the link broke");
  assert.equal(once(waiting, { at: "h1", moving: false }, null, "it was cancelled before")?.why, "it was cancelled before");
  assert.equal(once(moving, { at: "h1", moving: true }, null, "over")?.state, "moving", "what is under way ends first");
});

test("a server that died after it had begun a move finds it under way, or done", () => {
  const waiting = move("a", "h1", "h2");
  assert.equal(once(waiting, { at: "h1", moving: true })?.state, "moving");
  assert.equal(once(waiting, { at: "h2", moving: false })?.state, "moved");
});

test("never more migrations at a host than it has places, and every plan ends", () => {
  const host = fc.constantFrom("h1", "h2", "h3");
  fc.assert(
    fc.property(fc.array(fc.tuple(host, host, fc.nat(), fc.boolean()), { maxLength: 12 }), fc.integer({ min: 1, max: 3 }), (drawn, places) => {
      let moves: readonly PlannedMove[] = drawn.map(([from, to, after], at) => move(`m${at}`, from, to, at === 0 ? [] : [after % at]));
      const at = new Map(moves.map(({ vm, from }) => [vm, from]));
      const moving = new Set<string>();
      for (let round = 0; round <= 3 * drawn.length + 2; round += 1) {
        const steps = nextBalanceSteps({
          moves,
          look: (vm) => ({ at: at.get(vm) ?? "", moving: moving.has(vm) }),
          places: () => places,
          refusal: () => null,
          ...calm,
        });
        ({ moves } = steps);
        if (steps.ended) return;
        for (const index of steps.start) moving.add(moves[index]?.vm ?? "");
        for (const name of ["h1", "h2", "h3"]) {
          const there = moves.filter(({ vm, from, to }) => moving.has(vm) && from !== to && (from === name || to === name));
          assert.ok(there.length <= places, `${there.length} at ${name}`);
        }
        const [first] = moving;
        if (first === undefined) continue;
        moving.delete(first);
        const index = moves.findIndex(({ vm }) => vm === first);
        if (drawn[index]?.[3] !== true) at.set(first, moves[index]?.to ?? "");
      }
      assert.fail("it does not end");
    }),
  );
});

test("a move that the budget does not allow yet waits, says why, and begins when it does", () => {
  let left = 1;
  const budget = { refusal: () => (left > 0 ? null : "enough for this hour"), spend: () => void (left -= 1) };
  const look = (): MoveSight => ({ at: "h1", moving: true });
  const still = { look: (): MoveSight => ({ at: "h1", moving: false }), places: () => 9, refusal: () => null, over: null };
  const first = nextBalanceSteps({ ...still, moves: [move("a", "h1", "h2"), move("b", "h1", "h3")], budget, now: 5 });
  assert.deepEqual(
    first.moves.map(({ state, why, begunAt }) => [state, why, begunAt]),
    [
      ["moving", undefined, 5],
      ["waiting", "enough for this hour", undefined],
    ],
  );
  assert.equal(first.ended, false);
  left = 1;
  const second = nextBalanceSteps({ ...still, look: (vm) => (vm === "a" ? look() : still.look()), moves: first.moves, budget, now: 9 });
  assert.deepEqual(second.start, [1]);
  assert.deepEqual([second.moves[1]?.why, second.moves[1]?.begunAt, left], [undefined, 9, 0]);
});
