import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlacementRequest } from "./placement-request.ts";
import { buildSnapshot } from "./snapshot.ts";
import { StandingHosts } from "./standing-hosts.ts";
import { cluster, host, id, network, pool, vm } from "./testing/records.ts";

test("what is remembered for one request answers no other that asks for something else", () => {
  const snapshot = buildSnapshot([
    cluster(10, {}, "a"),
    cluster(11, {}, "b"),
    host(1, {
      spec: { cluster: "a" },
      labels: { rack: "1" },
      cpuModels: ["qemu64", "Nehalem"],
      hypervisor: { machineTypes: ["pc-q35-7.2"], uefi: true, secureBoot: true, tpm: true },
    }),
    host(2, { spec: { cluster: "b" }, bridges: ["br1"], cpuModels: ["qemu64"] }),
    network(20, "lan", { bridge: "br0", managed: false }),
    pool(30, "fast", { type: "shared" }, { 1: {} }),
    pool(31, "both", { type: "local" }, { 1: {}, 2: {} }),
  ]);
  const plain: PlacementRequest = { ...snapshot.request(vm(100)), cpuModel: "qemu64", machineType: "q35" };
  const on = (poolNumber: number, pinnedTo?: string) => ({
    volumes: [{ volume: id(40), pool: id(poolNumber), sizeBytes: 1, ...(pinnedTo === undefined ? {} : { pinnedTo }) }],
  });
  const variants: Readonly<Record<string, Partial<PlacementRequest>>> = {
    host: { host: id(1) },
    cluster: { cluster: "a" },
    selector: { hostSelector: { rack: "1" } },
    leave: { leave: id(1) },
    "unknown volumes": { unknownVolumes: [id(41)] },
    pool: on(30),
    "volume's host": on(31, id(1)),
    "machine type": { machineType: "pc" },
    "CPU model": { cpuModel: "Nehalem" },
    UEFI: { uefi: true },
    "Secure Boot": { secureBoot: true },
    TPM: { tpm: true },
    network: { networks: [id(20)] },
  };
  const shared = new StandingHosts(snapshot);
  const all = shared.slots([plain]);
  assert.equal(all.length, 2);
  assert.equal(shared.slots([{ ...plain, vm: id(101), memoryBytes: 5 }]), all, "machines that ask for the same are answered once");
  for (const [what, variant] of Object.entries(variants)) {
    const request = { ...plain, ...variant };
    const slots = shared.slots([request]);
    assert.deepEqual(slots, new StandingHosts(snapshot).slots([request]), what);
    assert.notDeepEqual(slots, all, `${what} rules a host out`);
  }
  const both = shared.slots([
    { ...plain, ...variants["selector"] },
    { ...plain, ...variants["leave"] },
  ]);
  assert.deepEqual(both, [], "several that share a host: what suits all of them");
});
