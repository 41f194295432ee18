import assert from "node:assert/strict";
import { test } from "node:test";
import type { PlacementRequest } from "./placement-request.ts";
import { buildSnapshot } from "./snapshot.ts";
import { StandingHosts } from "./standing-hosts.ts";
import { cluster, host, id, network, vm } from "./testing/records.ts";

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
  ]);
  const plain: PlacementRequest = { ...snapshot.request(vm(100)), cpuModel: "qemu64", machineType: "q35" };
  const variants: Readonly<Record<string, Partial<PlacementRequest>>> = {
    cluster: { cluster: "a" },
    selector: { hostSelector: { rack: "1" } },
    "machine type": { machineType: "pc" },
    "CPU model": { cpuModel: "Nehalem" },
    UEFI: { uefi: true },
    "Secure Boot": { secureBoot: true },
    TPM: { tpm: true },
    network: { networks: [id(20)] },
  };
  const all = snapshot.standing.of(plain);
  assert.deepEqual([...all.mask], [0, 0]);
  assert.equal(snapshot.standing.of({ ...plain, vm: id(101), memoryBytes: 5 }), all, "machines that ask for the same are answered once");
  for (const [what, variant] of Object.entries(variants)) {
    const request = { ...plain, ...variant };
    const { mask } = snapshot.standing.of(request);
    assert.deepEqual(mask, new StandingHosts(snapshot).of(request).mask, what);
    assert.notDeepEqual(mask, all.mask, `${what} rules a host out`);
  }
});
