import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConsolidationInput, ConsolidationOptions } from "./consolidation-input.ts";
import { gib, host, machine } from "./consolidation.test-support.ts";
import { planConsolidation } from "./plan-consolidation.ts";

/** No price, no spread that is not seen, no spare: what is tested is said. */
const plain: Partial<ConsolidationOptions> = { unseenSpread: 0, spareHosts: 0, moveJoules: 0, moveJoulesPerGib: 0 };
const plan = (input: ConsolidationInput) => planConsolidation({ ...input, options: { ...plain, ...input.options } });
const short = (input: ConsolidationInput) => plan(input).moves.map(({ machine: id, from, to, cause }) => `${cause} ${id} ${from} → ${to}`);

test("a host whose machines fit onto another is emptied and sleeps", () => {
  const input = { hosts: [host("a"), host("b")], machines: [machine("1", "a", 2000), machine("2", "b", 5000)] };
  const { moves, sleep, wake } = plan(input);
  assert.deepEqual(
    moves.map(({ machine: id, to }) => ({ id, to })),
    [{ id: "1", to: "b" }],
    "of two alike, the one with less to do",
  );
  // 120 W are saved, and 20 more are drawn elsewhere, for two hours.
  assert.ok(Math.abs((moves[0]?.gainJoules ?? 0) - 100 * 7200) < 1e-6);
  assert.match(moves[0]?.reason ?? "", /a can sleep: its machines, 1 in number, fit onto others, which saves 100 W/);
  assert.deepEqual(sleep, [{ host: "a", reason: "it has no machine" }]);
  assert.deepEqual(wake, []);
});

test("a host is not emptied where its moves cost more than it saves", () => {
  const input = { hosts: [host("a"), host("b")], machines: [machine("1", "a", 2000), machine("2", "b", 3000, { memoryBytes: 8 * gib })] };
  assert.deepEqual(short({ ...input, options: { moveJoules: 400_000, moveJoulesPerGib: 50_000 } }), ["emptying 1 a → b"]);
  assert.deepEqual(short({ ...input, options: { moveJoules: 700_000, moveJoulesPerGib: 50_000 } }), []);
});

test("head-room is kept: with two σ of its sum a host that swings takes less", () => {
  const swing = Array.from({ length: 24 }, (_, n) => (n % 2 === 0 ? 4000 : 8000));
  const hosts = [host("a"), host("b")];
  // The level is 6000 and something for the newest samples, σ 2000: with 1000 more nothing is left of 10,000.
  const machines = [machine("1", "a", swing), machine("2", "b", 1000, { movable: true })];
  assert.deepEqual(
    short({ hosts, machines, options: { headRoomSigmas: 2 } }).filter((move) => move.endsWith("→ a")),
    [],
  );
  assert.deepEqual(
    short({ hosts, machines: [machine("1", "a", swing, { movable: false }), machine("2", "b", 1000)], options: { headRoomSigmas: 0.5 } }),
    ["emptying 2 b → a"],
  );
});

test("a hot host gives up the cheapest machine that is enough alone, to the host with the most room", () => {
  const hosts = ["a", "b", "c"].map((id) => host(id));
  const machines = [
    machine("big", "a", 6000, { memoryBytes: 8 * gib }),
    machine("middle", "a", 3000, { memoryBytes: 2 * gib }),
    machine("small", "a", 1500, { memoryBytes: 4 * gib }),
    machine("tiny", "a", 100, { memoryBytes: gib }),
    machine("on-b", "b", 5500, { movable: false }),
    machine("on-c", "c", 5000, { movable: false }),
  ];
  const { moves } = plan({ hosts, machines, options: { moveJoulesPerGib: 1 } });
  assert.deepEqual(
    moves.map(({ machine: id, from, to, cause }) => ({ id, from, to, cause })),
    [{ id: "middle", from: "a", to: "c", cause: "relief" }],
  );
  assert.match(moves[0]?.reason ?? "", /a is asked for 106 % of its CPU; c has the most room left/);
});

test("where no host that is awake has room, the best of the sleeping ones is woken; a full one that no one can help stays", () => {
  const machines = [machine("1", "a", 6000), machine("2", "a", 6000)];
  const asleep = { state: "asleep" } as const;
  const hosts = [
    host("a"),
    host("b", { ...asleep, powerCurve: [100, 300] }),
    host("c", asleep),
    host("d", { ...asleep, usable: false, powerCurve: [1, 2] }),
  ];
  const woken = plan({ hosts, machines });
  assert.deepEqual(
    woken.wake.map(({ host: id }) => id),
    ["c"],
  );
  assert.deepEqual(
    woken.moves.map(({ machine: id, to }) => ({ id, to })),
    [{ id: "1", to: "c" }],
  );
  assert.deepEqual(plan({ hosts: [host("a")], machines }), { wake: [], moves: [], sleep: [] });
});

test("an empty host that is awake takes what others cannot, and only that", () => {
  const hosts = [host("a"), host("b"), host("spare")];
  const machines = [machine("1", "a", 6000), machine("2", "a", 6000), machine("3", "b", 2000, { movable: false })];
  assert.deepEqual(short({ hosts, machines, options: { spareHosts: 1 } }), ["relief 1 a → b"]);
});

test("memory, cores, what the caller forbids, and what cannot move are respected", () => {
  const emptying = (of: Parameters<typeof machine>[3], input: Partial<ConsolidationInput> = {}) =>
    short({ hosts: [host("a"), host("b")], machines: [machine("1", "a", 2000, of), machine("2", "b", 3000, { movable: false })], ...input });
  assert.deepEqual(emptying({}), ["emptying 1 a → b"]);
  assert.deepEqual(emptying({ memoryBytes: 64 * gib }), []);
  assert.deepEqual(emptying({ cpus: 1 }), [], "one virtual CPU gets no more than one core gives");
  assert.deepEqual(emptying({ movable: false }), []);
  assert.deepEqual(emptying({}, { allowed: (id, on) => !(id === "1" && on === "b") }), []);
  assert.deepEqual(emptying({}, { hosts: [host("a"), host("b", { usable: false })] }), []);
  assert.deepEqual(emptying({}, { hosts: [host("a", { usable: false }), host("b")] }), [], "a cordoned host is not put to sleep");
});

test("a host that is asked for much at this moment takes nothing, however little is expected", () => {
  const spike = (now: number) => [...Array.from({ length: 23 }, () => 1000), now];
  const onto = (now: number) =>
    short({
      hosts: [host("a"), host("b")],
      machines: [machine("1", "a", 2000), machine("2", "b", spike(now), { movable: false })],
      options: { headRoomSigmas: 0 },
    });
  assert.deepEqual(onto(7400), ["emptying 1 a → b"]);
  assert.deepEqual(onto(7600), []);
});

test("a machine of which nothing is known stays, and its host takes none and is not emptied", () => {
  const unknown = (on: string) => machine("?", on, []);
  const machines = [machine("1", "a", 2000), machine("2", "b", 3000)];
  const hosts = [host("a"), host("b")];
  assert.equal(plan({ hosts, machines }).moves.length, 1);
  assert.deepEqual(short({ hosts, machines: [...machines, unknown("a")] }), []);
  assert.deepEqual(short({ hosts, machines: [...machines, unknown("b")] }), []);
});

test("a host with more machines than moves are left is not emptied in part", () => {
  const machines = [machine("1", "a", 100), machine("2", "a", 100), machine("3", "a", 100), machine("4", "b", 5000, { movable: false })];
  const hosts = [host("a"), host("b")];
  assert.deepEqual(short({ hosts, machines, options: { maximumMoves: 2 } }), []);
  assert.equal(short({ hosts, machines, options: { maximumMoves: 3 } }).length, 3);
});

test("as many hosts without machines stay awake as are wanted, the efficient ones; where there are too few, some are woken", () => {
  const hosts = [host("a", { powerCurve: [100, 300] }), host("b"), host("c", { state: "asleep" }), host("d")];
  const machines = [machine("1", "d", 8000)];
  const with_ = (spareHosts: number) => {
    const { sleep, wake } = plan({ hosts, machines, options: { spareHosts } });
    return { sleep: sleep.map(({ host: id }) => id), wake: wake.map(({ host: id }) => id) };
  };
  assert.deepEqual(with_(0), { sleep: ["b", "a"], wake: [] });
  assert.deepEqual(with_(1), { sleep: ["a"], wake: [] });
  assert.deepEqual(with_(3), { sleep: [], wake: ["c"] });
});

test("a rise that comes every morning is made room for before it comes, and a host is woken for it", () => {
  const day = Array.from({ length: 24 }, (_, hour) => (hour >= 9 && hour < 18 ? 6000 : 1000));
  const at = (hour: number) => {
    const demand = [...day, ...day, ...day.slice(0, hour)];
    const machines = [machine("1", "a", demand), machine("2", "a", demand)];
    const options = { sampleSeconds: 3600, windowSamples: 4, horizonSeconds: 2 * 3600, headRoomSigmas: 0 };
    return plan({ hosts: [host("a"), host("b", { state: "asleep" })], machines, options });
  };
  assert.deepEqual(at(6), { wake: [], moves: [], sleep: [] });
  const { wake, moves } = at(9);
  assert.deepEqual(
    [wake, moves].map((list) => list.length),
    [1, 1],
  );
  assert.match(wake[0]?.reason ?? "", /a is expected to be asked for 120 % of its CPU, and no host that is awake has room/);
});

test("a day of noise moves nothing once the cluster is settled", () => {
  const level = (n: number): number => 300 + ((n * 397) % 900);
  let noise = 1;
  const noisy = (n: number): number => {
    noise = (noise * 48_271) % 2_147_483_647;
    return level(n) * (0.85 + 0.3 * (noise / 2_147_483_647));
  };
  let machines = Array.from({ length: 60 }, (_, n) =>
    machine(
      `m${n}`,
      `h${n % 12}`,
      Array.from({ length: 24 }, () => noisy(n)),
    ),
  );
  let awake = new Set(Array.from({ length: 12 }, (_, n) => `h${n}`));
  const moved: number[] = [];
  for (let step = 0; step < 288; step += 1) {
    const hosts = Array.from({ length: 12 }, (_, n) => host(`h${n}`, { state: awake.has(`h${n}`) ? "awake" : "asleep" }));
    const { moves, wake, sleep } = planConsolidation({ hosts, machines });
    moved.push(moves.length);
    const target = new Map(moves.map(({ machine: id, to }) => [id, to]));
    awake = new Set([...awake, ...wake.map(({ host: id }) => id)]);
    for (const { host: id } of sleep) awake.delete(id);
    machines = machines.map((each, n) => ({
      ...each,
      host: target.get(each.id) ?? each.host,
      demand: Float64Array.of(...each.demand.slice(-23), noisy(n)),
    }));
  }
  const [first, ...later] = moved;
  assert.ok((first ?? 0) > 0);
  assert.equal(
    later.reduce((sum, count) => sum + count, 0),
    0,
  );
});
