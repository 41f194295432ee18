/**
 * Model checking: every path through the migration's table against a model of two hosts, with a fault at every step. The model knows what
 * libvirt's calls do, that a reply may be lost although the work was done, and that hosts lose power; it knows nothing of the table.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { migrationFaults, migrationStates, migrationTable, nextMigrationStep, ownerOf, type MigrationEvent, type MigrationState } from "./migrate.ts";

interface World {
  readonly state: MigrationState;
  readonly tries: number;
  /** Guest at the source. `gone`: no process (its host lost power, or it was removed). */
  readonly source: "running" | "paused" | "gone";
  /** `incoming`: waits for memory. `loaded`: has all of it, CPUs not started. */
  readonly target: "none" | "incoming" | "loaded" | "running" | "gone";
  readonly placement: "source" | "target";
  /** The target's agent has noted on its disk that it was about to start the CPUs. */
  readonly finishNoted: boolean;
  /** A perform whose caller has gone may still be at work. */
  readonly performing: boolean;
  /** Faults so far: bounded, so that the search ends. */
  readonly faults: number;
}

const start: World = {
  state: "requested",
  tries: 0,
  source: "running",
  target: "none",
  placement: "source",
  finishNoted: false,
  performing: false,
  faults: 0,
};

/** The world after the work of a state is really done, and what the agent answers. */
function work(world: World): { world: World; event: MigrationEvent } {
  const { act } = migrationTable[world.state];
  if (act.does !== "call") return { world, event: "done" };
  switch (act.method) {
    case "migrate.begin":
      return world.source === "running" ? { world, event: "done" } : { world, event: "failed" };
    case "migrate.prepare":
      return { world: { ...world, target: "incoming" }, event: "done" };
    case "migrate.perform":
      if (world.source === "paused" && world.target === "loaded") return { world: { ...world, performing: false }, event: "done" }; // remembered
      if (world.source === "running" && world.target === "incoming")
        return { world: { ...world, source: "paused", target: "loaded", performing: false }, event: "done" };
      return { world: { ...world, performing: false }, event: "failed" };
    case "migrate.abort":
      return { world: { ...world, performing: false }, event: "done" };
    case "migrate.finish":
      if (act.cancelled) {
        assert.notEqual(world.target, "running", "a running guest was given up");
        return { world: { ...world, target: "none" }, event: "done" };
      }
      if (world.target === "running") return { world, event: "done" };
      if (world.target === "loaded") return { world: { ...world, target: "running", finishNoted: true }, event: "done" };
      return { world: { ...world, target: "none" }, event: world.finishNoted ? "failed" : "never-ran" };
    case "migrate.confirm":
      if (!act.cancelled) {
        assert.equal(world.placement, "target", "the source's copy was removed while it was the machine");
        return { world: { ...world, source: "gone" }, event: "done" };
      }
      assert.equal(world.placement, "source", "the source was resumed although the machine is the target's");
      assert.notEqual(world.target, "running", "the source was resumed beside a running target");
      return {
        world: { ...world, source: world.source === "paused" ? "running" : world.source, performing: false },
        event: world.source === "gone" ? "failed" : "done",
      };
    case "vm.probe":
      return { world, event: world.target === "running" ? "done" : world.target === "loaded" ? "waiting" : "absent" };
  }
}

function step(world: World, event: MigrationEvent): World {
  const next = nextMigrationStep(world.state, event, world.tries);
  const placement = next.placement ?? world.placement;
  // A guest may go back only where it never ran.
  if (next.placement === "source") assert.ok(!world.finishNoted && world.target !== "running", "went back although the target may have run it");
  return { ...world, state: next.state, tries: Math.min(next.tries, 8), placement };
}

const ended = (world: World) => migrationTable[world.state].act.does === "end";

function successors(world: World, maximumFaults: number): World[] {
  if (ended(world)) return [];
  const worked = work(world);
  const results = [step(worked.world, worked.event)];
  if (world.faults >= maximumFaults) return results;
  const faulty = { ...world, faults: world.faults + 1 };
  const faultyWorked = { ...worked.world, faults: world.faults + 1 };
  // The reply is lost, the work done or not; the server restarts before or after it; somebody cancels; the call does not go out.
  for (const event of ["unknown", "restarted", "lost"] as const) results.push(step(faulty, event), step(faultyWorked, event));
  // A refusal: the work was not done.
  results.push(step(faulty, "failed"), step(faulty, "cancel"));
  // The work goes on after its caller has given up.
  if (world.state === "performed" && worked.event === "done") {
    const performing = { ...faulty, performing: true };
    for (const event of ["unknown", "restarted", "lost", "cancel"] as const) results.push(step(performing, event));
  }
  if (world.performing && world.source === "running" && world.target === "incoming")
    results.push({ ...faulty, source: "paused", target: "loaded", performing: false });
  // Power goes: whatever ran there is gone, a perform at work too.
  const sourceOff: World = { ...faulty, source: "gone", performing: false };
  results.push(sourceOff);
  const targetOff: World = { ...faulty, target: "gone", performing: false };
  if (world.target !== "none") results.push(targetOff);
  // It is off for certain, and the step that belongs to it learns so.
  const { act } = migrationTable[world.state];
  if (migrationTable[world.state].on.fenced !== undefined && act.does === "call")
    results.push(step(act.on === "source" ? sourceOff : targetOff, "fenced"));
  // An agent removes a copy that was prepared on it and is not placed there, once the migration is not its any more: covered by `ended`.
  return results;
}

function explore(maximumFaults = 3): Map<string, { world: World; next: string[] }> {
  const seen = new Map<string, { world: World; next: string[] }>();
  const queue = [start];
  for (let world = queue.pop(); world !== undefined; world = queue.pop()) {
    const name = JSON.stringify(world);
    if (seen.has(name)) continue;
    const next = successors(world, maximumFaults);
    seen.set(name, { world, next: next.map((one) => JSON.stringify(one)) });
    queue.push(...next);
  }
  return seen;
}

test("never do two copies run, never does a guest run where it is not placed, whatever fails and when", () => {
  const seen = explore(8);
  assert.ok(seen.size > 500, `only ${seen.size} situations were looked at`);
  for (const { world } of seen.values()) {
    assert.ok(!(world.source === "running" && world.target === "running"), `two copies run: ${JSON.stringify(world)}`);
    if (world.target === "running") assert.equal(world.placement, "target", JSON.stringify(world));
    assert.equal(world.placement, ownerOf(world.state), `the placement is not the owner's: ${JSON.stringify(world)}`);
  }
});

test("when it has ended the store's host has the machine running or may start it, and the other has no running copy", () => {
  let moved = 0;
  let stayed = 0;
  for (const { world } of explore().values()) {
    if (!ended(world)) continue;
    const other = world.placement === "source" ? world.target : world.source;
    assert.notEqual(other, "running", JSON.stringify(world));
    if (world.placement === "target") {
      moved += 1;
      assert.notEqual(world.target, "loaded", `left paused for ever: ${JSON.stringify(world)}`);
    } else {
      stayed += 1;
      // (Three faults are too few to make an honest source refuse three times; after that its own agent resumes what is placed there.)
      assert.notEqual(world.source, "paused", `left paused for ever: ${JSON.stringify(world)}`);
    }
  }
  assert.ok(moved > 10 && stayed > 10);
});

test("from every situation the migration ends once the faults stop", () => {
  const seen = explore();
  for (const { world } of seen.values()) {
    let now = world;
    for (let count = 0; !ended(now); count += 1) {
      assert.ok(count < 30, `goes round and round: ${JSON.stringify(world)}`);
      const worked = work(now);
      now = step(worked.world, worked.event);
    }
  }
});

test("without a fault the machine moves, by the shortest way", () => {
  const path: MigrationState[] = [];
  for (let now = start; ;) {
    path.push(now.state);
    if (ended(now)) break;
    const worked = work(now);
    now = step(worked.world, worked.event);
  }
  assert.deepEqual(path, ["requested", "begun", "prepared", "performed", "switched", "finished", "confirmed"]);
});

test("every state answers every fault, and is reached", () => {
  const reached = new Set([...explore().values()].map(({ world }) => world.state));
  for (const state of migrationStates) {
    assert.ok(reached.has(state), `${state} is never reached`);
    for (const fault of migrationFaults) assert.ok(migrationTable[state].on[fault] !== undefined, `${state} × ${fault}`);
  }
});

test("an event that a state does not know is a defect, not a step", () => {
  assert.throws(() => nextMigrationStep("begun", "never-ran"), RangeError);
});
