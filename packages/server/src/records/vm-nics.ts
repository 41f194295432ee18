/** Network cards of machines: MAC and addresses are claimed with the machine and given back when a card is taken out. Cards are matched by name on a change. */
import { macKey, normalIp, type RecordOf, type VmNic } from "@sheaf/model";
import type { Work } from "./record-services.ts";
import { defaultName } from "./references.ts";
import { invalid, sameJson } from "./refusals.ts";

/** The card of a machine that says nothing of cards: on the network `default`, where there is one. `nics: []` asks for none. */
export function defaultNics(work: Work): VmNic[] {
  const network = work.services.references.findShared("network", work.projectId, defaultName);
  return network === undefined ? [] : [{ name: "nic0", network: network.id, model: "virtio", queues: 1, connected: true }];
}

export function newNics(work: Work, nics: readonly VmNic[]): VmNic[] {
  checkNics(nics);
  const macs = new Set(nics.flatMap(({ mac }) => (mac === undefined ? [] : [mac])));
  return nics.map((nic, index) => makeNic(work, nic, index, macs));
}

export function changedNics(work: Work, before: RecordOf<"vm">, nics: readonly VmNic[]): VmNic[] {
  checkNics(nics);
  const macs = new Set([...nics, ...before.spec.nics].flatMap(({ mac }) => (mac === undefined ? [] : [mac])));
  const old = new Map(before.spec.nics.map((nic) => [nic.name, nic]));
  const made = nics.map((nic, index) => {
    const same = old.get(nic.name);
    if (same === undefined) return makeNic(work, nic, index, macs);
    old.delete(nic.name);
    return changeNic(work, same, nic, index);
  });
  for (const gone of old.values()) {
    if (gone.mac !== undefined) work.draft.delete(macKey(gone.mac));
    work.services.addresses.release(work.draft, gone.network, gone.addresses ?? []);
  }
  return made;
}

function makeNic(work: Work, nic: VmNic, index: number, macs: Set<string>): VmNic {
  const at = `/spec/nics/${index}`;
  const network = work.services.references.shared("network", work.projectId, nic.network, `${at}/network`);
  work.draft.unchanged(network);
  const mac = work.services.numbers.claimMac(work.draft, work.id, nic.mac, macs);
  macs.add(mac);
  return { ...nic, network: network.id, mac, addresses: work.services.addresses.claim(work.draft, network, work.id, nic.addresses, at) };
}

/** Keeps MAC and addresses unless others are asked for. */
function changeNic(work: Work, old: VmNic, nic: VmNic, index: number): VmNic {
  const at = `/spec/nics/${index}`;
  const { references, numbers, addresses } = work.services;
  const network = references.shared("network", work.projectId, nic.network, `${at}/network`);
  let mac = old.mac;
  if (nic.mac !== undefined && nic.mac !== old.mac) {
    mac = numbers.claimMac(work.draft, work.id, nic.mac, new Set());
    if (old.mac !== undefined) work.draft.delete(macKey(old.mac));
  }
  const moved = network.id !== old.network;
  const wanted = nic.addresses?.map(normalIp);
  if (!moved && (wanted === undefined || sameJson(wanted, old.addresses)))
    return { ...nic, network: network.id, ...(mac === undefined ? {} : { mac }), addresses: old.addresses ?? [] };
  work.draft.unchanged(network);
  // Those that stay are neither released nor claimed: a key is touched once in a transaction.
  const held = moved ? [] : (old.addresses ?? []);
  const stays = new Set(wanted?.filter((address) => held.includes(address)));
  addresses.release(
    work.draft,
    old.network,
    (old.addresses ?? []).filter((address) => !stays.has(address)),
  );
  const claimed = addresses.claim(
    work.draft,
    network,
    work.id,
    wanted?.filter((address) => !stays.has(address)),
    at,
  );
  return { ...nic, network: network.id, ...(mac === undefined ? {} : { mac }), addresses: wanted ?? claimed };
}

function checkNics(nics: readonly VmNic[]): void {
  const names = new Set<string>();
  const macs = new Set<string>();
  const addresses = new Set<string>();
  for (const [index, nic] of nics.entries()) {
    if (names.has(nic.name)) throw invalid(`/spec/nics/${index}/name`, `is there twice: ${nic.name}`);
    names.add(nic.name);
    if (nic.mac !== undefined && macs.has(nic.mac)) throw invalid(`/spec/nics/${index}/mac`, "is there twice");
    if (nic.mac !== undefined) macs.add(nic.mac);
    for (const [position, address] of (nic.addresses ?? []).entries()) {
      const key = normalIp(address);
      if (addresses.has(key)) throw invalid(`/spec/nics/${index}/addresses/${position}`, "is there twice");
      addresses.add(key);
    }
  }
}
