import assert from "node:assert/strict";
import { test } from "node:test";
import { HostSpec, type HostObservation, type RecordOf } from "@sheaf/model";
import { buildSnapshot } from "@sheaf/scheduling";
import { chooseMigrationTarget, stoppedMoveRefusal, type MigrationTargetInput } from "./migration-target.ts";
import { ids, placedOn, record, seen, vm, volume } from "./record.test-support.ts";

const gib = 2 ** 30;
type Host = RecordOf<"host"> & { readonly kind: "host" };

function host(id: string, name: string, cluster: string, cpu: Partial<HostObservation["cpu"]> = {}, accelerated = true): Host {
  const hypervisor = {
    type: "qemu",
    libvirtVersion: "9",
    qemuVersion: "7",
    accelerated,
    machineTypes: ["q35"],
    cpuModels: ["qemu64"],
    uefi: false,
    secureBoot: false,
    tpm: false,
  };
  const agent = {
    cpu: { model: "m", vendor: "Intel", flags: ["sse2", "avx2"], sockets: 1, cores: 4, threads: 1, count: 4, mhz: 1, ...cpu },
    numa: [],
    memoryBytes: 8 * gib,
    interfaces: [],
    hypervisor,
  };
  // The parts that placement looks at.
  const status = { agent, liveness: { state: "ready", since: 0, reason: "" } } as unknown as Host["status"];
  return record("host", id, HostSpec.parse({ cluster, reservedMemoryBytes: 0 }), { name, status });
}

const source = host(ids.host, "h1", "a");
const choose = (others: readonly Host[], spec: Record<string, unknown> = {}, rest: Partial<MigrationTargetInput> = {}) => {
  const machine = vm(spec, { placement: placedOn(ids.host) });
  const snapshot = buildSnapshot([source, ...others, machine]);
  return chooseMigrationTarget({
    vm: machine,
    source,
    request: snapshot.request(machine, "move"),
    snapshot,
    host: (id) => [source, ...others].find((one) => one.id === id),
    connected: () => true,
    running: true,
    ...rest,
  });
};

test("another host of the same cluster takes it; one of another cluster does not", () => {
  assert.deepEqual(choose([host(ids.otherHost, "h2", "a")]), { host: ids.otherHost });
  assert.match(JSON.stringify(choose([host(ids.otherHost, "h2", "b")])), /h2: is in another cluster/);
  assert.deepEqual(choose([]), { why: "there is no other host in its cluster" });
});

test("a host that is asked for is the only one looked at", () => {
  assert.match(JSON.stringify(choose([host(ids.otherHost, "h2", "a")], {}, { target: ids.host })), /it is on h1 already/);
  assert.match(JSON.stringify(choose([host(ids.otherHost, "h2", "a")], {}, { target: "nowhere" })), /there is no such host/);
});

test("an agent that is not connected, and hardware virtualisation on one side only, are refused", () => {
  assert.match(JSON.stringify(choose([host(ids.otherHost, "h2", "a")], {}, { connected: () => false })), /its agent is not connected/);
  assert.match(JSON.stringify(choose([host(ids.otherHost, "h2", "a", {}, false)])), /only one of the two hosts has hardware virtualisation/);
});

test("a running machine that uses its host's own CPU moves only where that CPU's features are", () => {
  const poorer = host(ids.otherHost, "h2", "a", { flags: ["sse2"] });
  const spec = { cpu: { model: "host-passthrough" } };
  assert.match(JSON.stringify(choose([poorer], spec)), /its CPU lacks avx2/);
  assert.match(JSON.stringify(choose([host(ids.otherHost, "h2", "a", { vendor: "AMD" })], spec)), /of another vendor/);
  assert.deepEqual(choose([poorer], spec, { running: false }), { host: ids.otherHost });
  assert.deepEqual(choose([poorer]), { host: ids.otherHost });
});

test("a stopped machine is refused with the names of the disks that keep it", () => {
  const pool = (type: "local" | "shared") => () =>
    record("pool", ids.pool, { type, path: "/p", overcommit: 4, minimumFreeRatio: 0.05, imageCacheRatio: 0.2 });
  const stopped = vm({ power: "stopped" }, { placement: placedOn(ids.host), status: { agent: seen("stopped") } });
  assert.equal(stoppedMoveRefusal(stopped, [volume()], pool("shared")), null);
  assert.equal(stoppedMoveRefusal(stopped, [], pool("local")), null);
  assert.match(stoppedMoveRefusal(stopped, [volume()], pool("local")) ?? "", /its disk volume-a lies on its host alone/);
});

for (const [what, spec, agent, stays] of [
  ["stopped as it is wanted", { power: "stopped" }, seen("stopped"), true],
  ["given up, and wanted stopped", { power: "stopped" }, seen("failed"), true],
  ["wanted stopped, which its host has not seen yet", { power: "stopped" }, seen("stopped", { observedGeneration: 0 }), false],
  ["shut down by itself, and left so", {}, seen("stopped", { stoppedBy: "guest" }), true],
  ["shut down by itself, and wanted started since", { startRequest: 3 }, seen("stopped", { stoppedBy: "guest" }), false],
  ["shut down by itself, to be started again", { restart: { onGuestShutdown: "restart" } }, seen("stopped", { stoppedBy: "guest" }), false],
  ["crashed, and left so", { restart: { onCrash: "stay" } }, seen("crashed", { stoppedBy: "crash" }), true],
  ["crashed, to be started again", {}, seen("crashed", { stoppedBy: "crash" }), false],
  ["down since its host restarted", {}, seen("stopped", { stoppedBy: "host" }), false],
  ["without something it needs", {}, seen("failed"), false],
  ["being started", {}, seen("starting"), false],
  ["seen under another epoch", { power: "stopped" }, seen("stopped", { epoch: 7 }), false],
] as const)
  test(`a machine that is ${what} is ${stays ? "" : "not "}given over`, () => {
    const machine = vm(spec, { placement: placedOn(ids.host), status: { agent } });
    assert.equal(stoppedMoveRefusal(machine, [], () => undefined) === null, stays);
  });
