/**
 * What rules hosts out for one machine besides capacity: its own wishes (pin, cluster, selector, where its volumes lie), the
 * state of hosts, what they can run, networks; then groups. The order is the order of explanation: the first that fails names the class,
 * but what binds this one machine to a host is said before all.
 */
import { fewSlotsFilter, type FilterWords, type HostFilter, hostFilter, slotsFilter } from "./host-filter.ts";
import { groupRuleFilters } from "./group-rules.ts";
import { hasLabels, type HostFacts, type HostState } from "./host-table.ts";
import { leftHosts } from "./left-hosts.ts";
import { licenceCountFilters, licenceHostFilters } from "./licence-filters.ts";
import { neighbourFilters } from "./neighbour-filters.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** Those whose answer no charge changes, and that many machines share: kept by `StandingHosts`. */
export function standingFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  return [...wishFilters(request, snapshot), ...stateFilters(snapshot), ...abilityFilters(request, snapshot), ...networkFilters(request, snapshot)];
}

/** Equal for requests whose standing filters say the same of every host. */
export function standingKey(request: PlacementRequest): string {
  const { cluster, hostSelector, licences, machineType, cpuModel, uefi, secureBoot, tpm, networks } = request;
  return JSON.stringify([cluster, hostSelector, licences, machineType, cpuModel, uefi, secureBoot, tpm, networks]);
}

const ownWords = (code: string, one: string, many: string): FilterWords => ({ code, own: true, one, many });

export function wishFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const filters: HostFilter[] = [];
  const { cluster } = request;
  if (cluster !== undefined) {
    const number = table.numberOf(cluster);
    const elsewhere = (slot: number): boolean => table.clusterNumber[slot] !== number;
    filters.push(hostFilter(ownWords("cluster", "is in another cluster", "are in another cluster"), elsewhere));
  }
  const { hostSelector } = request;
  if (Object.keys(hostSelector).length > 0) {
    const words = ownWords("selector", "lacks the host labels it asks for", "lack the host labels it asks for");
    filters.push(hostFilter(words, (slot) => !hasLabels(table.facts[slot]?.record.labels, hostSelector)));
  }
  return [...filters, ...licenceHostFilters(request, snapshot)];
}

/** What binds this one machine to hosts, or keeps it from one. */
export function bindingFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { host, leave, unknownVolumes, volumes } = request;
  const slotsOf = (hosts: Iterable<string>): Set<number> => new Set([...hosts].flatMap((id) => snapshot.table.find(id) ?? []));
  const filters: HostFilter[] = [];
  if (host !== undefined) {
    filters.push(slotsFilter(ownWords("pinned", "is not the host it is bound to", "are not the host it is bound to"), slotsOf([host]), "others"));
  }
  if (leave !== undefined) filters.push(slotsFilter(ownWords("present", "is where it is now", "are where it is now"), slotsOf([leave]), "these"));
  if (unknownVolumes.length > 0) {
    const words = `cannot take it: volume ${unknownVolumes.join(", ")} is not there`;
    filters.push(slotsFilter(ownWords("no-volume", words, words), new Set(), "others"));
  }
  const holders = new Set(volumes.flatMap((need) => need.pinnedTo ?? []));
  if (holders.size > 0) {
    const why = holders.size > 1 ? ", which lie on several" : "";
    const words = ownWords("volumes", `does not hold its volumes${why}`, `do not hold its volumes${why}`);
    filters.push(slotsFilter(words, holders.size > 1 ? new Set() : slotsOf(holders), "others"));
  }
  return filters;
}

const stateWords: Readonly<Record<Exclude<HostState, "open">, readonly [one: string, many: string]>> = {
  unreachable: ["is unreachable", "are unreachable"],
  joining: ["has not joined yet", "have not joined yet"],
  silent: ["has not reported what it has", "have not reported what they have"],
  leaving: ["is being removed", "are being removed"],
  draining: ["is being drained", "are being drained"],
  cordoned: ["is cordoned", "are cordoned"],
  asleep: ["is asleep", "are asleep"],
};

function stateFilters(snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const { facts } = table;
  const wakeable = (slot: number): boolean => facts[slot]?.state === "asleep" && table.wakes(slot);
  const woken = { code: "wakeable", own: false, one: "is asleep and would be woken", many: "are asleep and would be woken" };
  const states = Object.entries(stateWords).map(([code, [one, many]]) =>
    hostFilter({ code, own: false, one, many }, (slot) => facts[slot]?.state === code && !wakeable(slot)),
  );
  return [hostFilter(woken, wakeable), ...states];
}

/** Reasons that end when a host is woken. */
export const asleepCodes: ReadonlySet<string> = new Set(["wakeable", "asleep"]);

function abilityFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const filters: HostFilter[] = [];
  const lacks = (code: string, what: string, fails: (facts: HostFacts, slot: number) => boolean): void => {
    const check = (slot: number): boolean => {
      const facts = table.facts[slot];
      return facts !== undefined && fails(facts, slot);
    };
    filters.push(hostFilter({ code, own: false, one: `lacks ${what}`, many: `lack ${what}` }, check));
  };
  // `pc` is an alias; a host may report the alias or the versioned names (pc-q35-7.2, pc-i440fx-7.2).
  const versioned = request.machineType === "q35" ? "pc-q35" : "pc-i440fx";
  lacks("machine-type", `machine type ${request.machineType}`, ({ seen }) => {
    const types = seen?.hypervisor.machineTypes ?? [];
    return types.length > 0 && !types.some((type) => type === request.machineType || type.startsWith(versioned));
  });
  const { cpuModel } = request;
  if (cpuModel === "cluster-baseline") {
    const noBaseline = ({ cpuModels }: HostFacts, slot: number): boolean => cpuModels.size > 0 && !cpuModels.has(table.baseline(slot));
    lacks("cpu-model", "the cluster's CPU model", noBaseline);
  } else if (cpuModel !== "host-passthrough" && cpuModel !== "host-model") {
    lacks("cpu-model", `CPU model ${cpuModel}`, ({ cpuModels }) => cpuModels.size > 0 && !cpuModels.has(cpuModel));
  }
  if (request.uefi) lacks("uefi", "UEFI firmware (package ovmf)", ({ seen }) => seen?.hypervisor.uefi !== true);
  if (request.secureBoot) lacks("secure-boot", "firmware with Secure Boot (package ovmf)", ({ seen }) => seen?.hypervisor.secureBoot !== true);
  if (request.tpm) lacks("tpm", "a TPM emulator (package swtpm)", ({ seen }) => seen?.hypervisor.tpm !== true);
  return filters;
}

function networkFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  return request.networks.map((id) => {
    const network = snapshot.networks.get(id);
    const name = network?.record.name ?? id;
    const fails = (slot: number): boolean => {
      const hostId = snapshot.table.ids[slot] ?? "";
      if (network === undefined || (network.hosts !== null && !network.hosts.has(hostId))) return true;
      const there = network.record.status.hosts?.[hostId];
      if (there !== undefined) return there.state !== "ready";
      // Nothing said of it yet: a managed bridge will be made, another one must be among the host's bridges.
      return !network.record.spec.managed && !(snapshot.table.facts[slot]?.bridges.has(network.record.spec.bridge) ?? false);
    };
    return hostFilter({ code: `network:${id}`, own: false, one: `lacks network ${name}`, many: `lack network ${name}` }, fails);
  });
}

/** What other machines that are there rule out: reservations count. */
export const companyFilters = (request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] => [
  ...groupFilters(request, snapshot),
  ...groupRuleFilters(request, snapshot),
  ...neighbourFilters(request, snapshot),
  ...licenceCountFilters(request, snapshot),
];

/** Machines it must be with, or without. */
function groupFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const filters: HostFilter[] = [];
  const { together, apart, vm } = request;
  if (together !== undefined) {
    const own = snapshot.charge(vm);
    const mine = own?.together === together ? own.slots : [];
    // The machine itself is a member wherever it is charged; only the others bind it, and those on hosts that are left do not.
    const isLeft = leftHosts(request, snapshot);
    const others = snapshot.together.total(together, isLeft) - mine.filter((slot) => !isLeft(slot)).length;
    const word = "the machines it stays together with";
    if (others > 0) {
      const fails = (slot: number): boolean => snapshot.together.count(together, slot) <= Number(mine.includes(slot));
      filters.push(hostFilter(ownWords("together", `does not hold ${word}`, `do not hold ${word}`), fails));
    }
  }
  if (apart !== undefined) {
    const own = snapshot.charge(vm);
    const mine = own?.apart === apart ? own.slots : [];
    const word = "a machine it must keep apart from";
    const fails = (slot: number): boolean => snapshot.apart.count(apart, slot) > Number(mine.includes(slot));
    const words = { code: "apart", own: false, one: `holds ${word}`, many: `hold ${word}` };
    filters.push(fewSlotsFilter(words, () => snapshot.apart.slots(apart), fails));
  }
  return filters;
}
