/**
 * What rules hosts out for one machine besides capacity: its own wishes (pin, cluster, selector, where its volumes lie), the
 * state of hosts, what they can run, networks and pools; then groups. The order is the order of explanation: the first that fails names the class.
 */
import type { HostFilter } from "./host-filter.ts";
import type { HostFacts, HostState } from "./host-table.ts";
import type { PlacementRequest } from "./placement-request.ts";
import type { SnapshotIndex } from "./snapshot.ts";

/** Those whose answer no reservation changes. */
export function standingFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  return [
    ...ownFilters(request, snapshot),
    ...stateFilters(snapshot),
    ...abilityFilters(request, snapshot),
    ...networkFilters(request, snapshot),
    ...poolFilters(request, snapshot),
  ];
}

/** Equal for requests whose standing filters say the same of every host. */
export function standingKey(request: PlacementRequest): string {
  const { host, cluster, hostSelector, leave, unknownVolumes, volumes, machineType, cpuModel, uefi, secureBoot, tpm, networks } = request;
  const where = volumes.map(({ pool, pinnedTo }) => [pool, pinnedTo]);
  return JSON.stringify([
    host,
    cluster,
    hostSelector,
    leave,
    unknownVolumes.length > 0,
    where,
    machineType,
    cpuModel,
    uefi,
    secureBoot,
    tpm,
    networks,
  ]);
}

function ownFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const filters: HostFilter[] = [];
  const own = (code: string, one: string, many: string, fails: HostFilter["fails"]): void => {
    filters.push({ code, own: true, one, many, fails });
  };
  const { host, cluster, leave } = request;
  if (host !== undefined) own("pinned", "is not the host it is bound to", "are not the host it is bound to", (slot) => table.ids[slot] !== host);
  if (cluster !== undefined) {
    const id = table.clusterId(cluster);
    const elsewhere = (slot: number): boolean => table.clusterId(table.facts[slot]?.record.spec.cluster ?? "") !== id;
    own("cluster", "is in another cluster", "are in another cluster", elsewhere);
  }
  const selector = Object.entries(request.hostSelector);
  if (selector.length > 0) {
    own("selector", "lacks the host labels it asks for", "lack the host labels it asks for", (slot) => {
      const labels = table.facts[slot]?.record.labels ?? {};
      return selector.some(([key, value]) => !Object.hasOwn(labels, key) || labels[key] !== value);
    });
  }
  if (leave !== undefined) own("present", "is where it is now", "are where it is now", (slot) => table.ids[slot] === leave);
  if (request.unknownVolumes.length > 0) {
    const words = `cannot take it: volume ${request.unknownVolumes.join(", ")} is not there`;
    own("no-volume", words, words, () => true);
  }
  const holders = new Set(request.volumes.flatMap((need) => (need.pinnedTo === undefined ? [] : [need.pinnedTo])));
  if (holders.size > 0) {
    const away = (slot: number): boolean => holders.size > 1 || !holders.has(table.ids[slot] ?? "");
    const why = holders.size > 1 ? ", which lie on several" : "";
    own("volumes", `does not hold its volumes${why}`, `do not hold its volumes${why}`, away);
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
};

function stateFilters(snapshot: SnapshotIndex): HostFilter[] {
  const { facts } = snapshot.table;
  return Object.entries(stateWords).map(([code, [one, many]]) => ({ code, own: false, one, many, fails: (slot) => facts[slot]?.state === code }));
}

function abilityFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const { table } = snapshot;
  const filters: HostFilter[] = [];
  const lacks = (code: string, what: string, fails: (facts: HostFacts, slot: number) => boolean): void => {
    const check = (slot: number): boolean => {
      const facts = table.facts[slot];
      return facts !== undefined && fails(facts, slot);
    };
    filters.push({ code, own: false, one: `lacks ${what}`, many: `lack ${what}`, fails: check });
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
    return { code: `network:${id}`, own: false, one: `lacks network ${name}`, many: `lack network ${name}`, fails };
  });
}

function poolFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const filters: HostFilter[] = [];
  for (const pool of new Set(request.volumes.map((need) => need.pool))) {
    const name = snapshot.pools.pool(pool)?.name ?? pool;
    const state = (slot: number): string | null => snapshot.pools.refusal(pool, snapshot.table.ids[slot] ?? "", slot, 0);
    filters.push(
      { code: `pool:${pool}`, own: false, one: `lacks pool ${name}`, many: `lack pool ${name}`, fails: (slot) => state(slot) === "absent" },
      {
        code: `pool-failed:${pool}`,
        own: false,
        one: `cannot use pool ${name} now`,
        many: `cannot use pool ${name} now`,
        fails: (slot) => state(slot) === "failed",
      },
    );
  }
  return filters;
}

/** Machines it must be with, or without: reservations count. */
export function groupFilters(request: PlacementRequest, snapshot: SnapshotIndex): HostFilter[] {
  const filters: HostFilter[] = [];
  const { together, apart, vm } = request;
  if (together !== undefined) {
    const own = snapshot.charge(vm);
    const mine = own?.together === together ? own.slots : [];
    // The machine itself is a member wherever it is charged; only the others bind it, and those on hosts that were cut off do not.
    const others = snapshot.membersTogether(together) - mine.filter((slot) => !snapshot.table.isCutOff(slot)).length;
    const word = "the machines it stays together with";
    if (others > 0) {
      const fails = (slot: number): boolean => snapshot.together.count(together, slot) <= Number(mine.includes(slot));
      filters.push({ code: "together", own: true, one: `does not hold ${word}`, many: `do not hold ${word}`, fails });
    }
  }
  if (apart !== undefined) {
    const own = snapshot.charge(vm);
    const mine = own?.apart === apart ? own.slots : [];
    const word = "a machine it must keep apart from";
    const fails = (slot: number): boolean => snapshot.apart.count(apart, slot) > Number(mine.includes(slot));
    filters.push({ code: "apart", own: false, one: `holds ${word}`, many: `hold ${word}`, fails });
  }
  return filters;
}
