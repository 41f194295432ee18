import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addressKey,
  fileKey,
  macKey,
  nameKey,
  NetworkSpec,
  numberKey,
  partKey,
  PoolSpec,
  SheafError,
  VmSpec,
  type AdoptableDomain,
  type RecordOf,
} from "@sheaf/model";
import { type AdoptionInput, networksByBridge, planAdoption } from "./adopt.ts";
import { planDeletion } from "./deletion.ts";
import { failOverRefusal } from "./fail-over.ts";
import { ids, placedOn, record, seen, vm } from "./record.test-support.ts";

const uuid = "3f2b1c5e-0d4a-4c9b-8e77-5a1d2c3b4a59";
const mac = "52:54:00:ab:cd:ef";
const pool = (id: string, path: string, rest: object = {}) => record("pool", id, PoolSpec.parse({ type: "local", path, ...rest }), { name: id });
const network = (name: string, spec: object = {}, project = ids.project) =>
  record("network", `net-${name}`, NetworkSpec.parse({ bridge: "br0", ...spec }), { name, project });
const lan = network("lan", { subnets: [{ cidr: "10.0.0.0/24" }] });

const domain = (change: Partial<AdoptableDomain> = {}, spec: object = {}): AdoptableDomain => ({
  domainName: "Old Web",
  spec: VmSpec.parse({
    cpu: { count: 2 },
    memory: { bytes: 2 ** 28 },
    disks: [{ name: "vda", deleteWithVm: false }],
    nics: [{ name: "eth0", network: lan.id, mac, addresses: [] }],
    cloudInit: { seed: false },
    ...spec,
  }),
  disks: [{ name: "vda", path: "/srv/vms/images/old.qcow2", format: "qcow2", sizeBytes: 2 ** 30 }],
  addresses: [],
  notes: [],
  ...change,
});

const input = (change: Partial<AdoptionInput> = {}): AdoptionInput => ({
  now: 5000,
  incarnation: "i",
  task: { id: ids.task, requestedBy: "admin" },
  uuid,
  name: "web",
  number: 107,
  host: { id: ids.host, name: "h1" },
  project: { id: ids.project, name: "default" },
  domain: domain(),
  networks: [lan],
  pools: [pool("srv", "/srv"), pool("vms", "/srv/vms")],
  volumeNamed: () => false,
  volumeIds: [ids.volume],
  ...change,
});
const refusal = (change: Partial<AdoptionInput>): string => {
  try {
    planAdoption(input(change));
  } catch (error) {
    assert.ok(error instanceof SheafError && error.code === "state-refused" && error.extra.next !== undefined);
    return error.message;
  }
  return "adopted";
};
/** A part of a record, as it is written. */
const part = (plan: ReturnType<typeof planAdoption>, key: string): Record<string, unknown> =>
  plan.parts.find((one) => one.key === key)?.value as Record<string, unknown>; // an object: a spec part or a placement

test("a domain becomes a machine under its own UUID, placed where it runs in the same breath, its disk a volume where it lies", () => {
  const plan = planAdoption(input());
  assert.deepEqual(
    plan.parts.map(({ key }) => key),
    [
      partKey("vm", uuid, "spec"),
      partKey("vm", uuid, "placement"),
      partKey("volume", ids.volume, "spec"),
      partKey("volume", ids.volume, "placement"),
    ],
  );
  const vm = part(plan, partKey("vm", uuid, "spec")) as unknown as RecordOf<"vm">; // the part that is written under this key
  assert.deepEqual([vm.id, vm.name, vm.displayName, vm.number, vm.generation], [uuid, "web", "Old Web", 107, 1]);
  assert.deepEqual([vm.spec.disks[0]?.volume, vm.spec.disks[0]?.pool, vm.spec.disks[0]?.deleteWithVm], [ids.volume, "vms", false]);
  assert.equal(vm.spec.nics[0]?.mac, mac);
  const { adoption, host, epoch, incarnation } = part(plan, partKey("vm", uuid, "placement"));
  assert.deepEqual({ adoption, host, epoch, incarnation }, { adoption: ids.task, host: ids.host, epoch: 1, incarnation: "i" });
  const volume = part(plan, partKey("volume", ids.volume, "spec")) as unknown as RecordOf<"volume">; // as above
  assert.deepEqual(volume.spec, { pool: "vms", sizeBytes: 2 ** 30, format: "qcow2", file: "images/old.qcow2", protected: false });
  assert.equal(part(plan, partKey("volume", ids.volume, "placement"))["host"], ids.host);
});

test("everything that is unique is claimed, and given back when the records go", () => {
  const plan = planAdoption(input({ domain: domain({ addresses: ["10.0.0.9", "172.17.0.1", "fe80::1", "10.0.0.9"] }) }));
  const machine = [nameKey("vm", ids.project, "web"), numberKey("vm", 107), macKey(mac), addressKey(lan.id, "10.0.0.9")];
  const disk = [nameKey("volume", ids.project, "web-vda"), fileKey("vms", "images/old.qcow2")];
  assert.deepEqual(plan.claims.map(({ key }) => key).toSorted(), [...machine, ...disk].toSorted());
  assert.ok(plan.claims.every(({ key, id }) => id === (disk.includes(key) ? ids.volume : uuid)));
  for (const [kind, id, keys] of [
    ["vm", uuid, machine],
    ["volume", ids.volume, disk],
  ] as const) {
    const written = { ...part(plan, partKey(kind, id, "spec")), status: {}, deletedAt: 1 } as unknown as RecordOf<"vm"> & { kind: "vm" }; // or a volume
    const removed = planDeletion({ record: written, volumes: [], hostExists: false, referredBy: null });
    assert.deepEqual(removed.step === "remove" ? removed.keys.toSorted() : removed, [...keys].toSorted());
  }
  assert.deepEqual(plan.usage, { vms: 1, vcpus: 2, memoryBytes: 2 ** 28, diskBytes: 2 ** 30, images: 0 });
  assert.deepEqual(plan.uses.map(({ id }) => id).toSorted(), [lan.id, "vms"].toSorted());
});

test("disks outside of the host's pools, under odd names, and Sheaf's own files are refused with what to do", () => {
  const at = (path: string): Partial<AdoptionInput> => ({
    domain: domain({ disks: [{ name: "vda", path, format: "qcow2", sizeBytes: 2 ** 30 }] }),
  });
  assert.match(refusal(at("/elsewhere/x.qcow2")), /\/elsewhere\/x.qcow2, which lies in no storage pool of host h1/);
  assert.match(refusal({ pools: [pool("other", "/srv/vms", { hosts: [ids.otherHost] })] }), /in no storage pool of host h1/);
  assert.match(refusal(at("/srv/vms/a disk.qcow2")), /whose path has other than letters/);
  assert.match(refusal(at("/srv/vms/../../etc/shadow")), /whose path has other than letters/);
  assert.match(refusal(at(`/srv/vms/volumes/${ids.volume2}.qcow2`)), /which is a file of Sheaf's own/);
  assert.match(refusal(at(`/srv/vms/images/${"a".repeat(64)}.qcow2`)), /which is a file of Sheaf's own/);
  assert.match(
    refusal({ domain: domain({ disks: [{ name: "vda", path: "/srv/vms/x.raw", format: "raw", sizeBytes: 2 ** 20 + 1 }] }) }),
    /does not fit Sheaf's limits: sizeBytes must be a multiple of 512/,
  );
});

test("a bridge is the project's own network before a public one; networks of others and of other hosts are none", () => {
  const theirs = network("a-theirs", {}, "other");
  const open = network("a-open", { public: true }, "other");
  const far = network("far", { hosts: [ids.otherHost] });
  const found = (...all: RecordOf<"network">[]): string | undefined => networksByBridge(all, ids.host, ids.project).get("br0")?.name;
  assert.equal(found(theirs, far), undefined);
  assert.equal(found(theirs, open), "a-open");
  assert.equal(found(theirs, open, lan), "lan");
});

test("volumes' names give way to those that are there", () => {
  const plan = planAdoption(input({ volumeNamed: (name) => name === "web-vda" }));
  assert.equal(part(plan, partKey("volume", ids.volume, "spec"))["name"], `web-vda-${ids.volume.slice(-12)}`);
});

test("what its host has not taken over yet is not started elsewhere: libvirtd may start it there", () => {
  const placement = { ...placedOn(ids.host), adoption: ids.task };
  const refused = (status: RecordOf<"vm">["status"]) =>
    failOverRefusal({ vm: vm({ highlyAvailable: true }, { placement, status }), heldBack: false, volumes: [], pool: () => undefined });
  assert.match(refused({}) ?? "", /had not taken its domain over yet/);
  assert.equal(refused({ agent: seen("running") }), null);
});
