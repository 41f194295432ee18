/** Handlers of the verbs of hosts and clusters: maintenance, upgrades of agents, fencing. */
import { routes } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import type { EvacuationCheck } from "@sheaf/planning";
import { carriedRelease, membersOf, upgradeAgents, upgradePreview } from "../records/agent-upgrades.ts";
import { askForPower, askToFence, changeMaintenance } from "../records/host-verbs.ts";
import { maintainCluster, tellRolling } from "../records/rolling-maintenance.ts";
import { devicesOfHost } from "./host-devices.ts";
import { hostAddition, hostRemoval } from "./what-if.ts";
import { json, on, written, type AnyHandler, type Call } from "./call.ts";

const { host, cluster, plan } = routes;

export const hostHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(host.cordon, async (call) =>
    written(await changeMaintenance(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "cordon")),
  ),
  on(host.drain, async (call) =>
    written(await changeMaintenance(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "drain", call.body)),
  ),
  on(host.maintain, async (call) => {
    const found = call.target("host", call.params.id, undefined);
    const { force, ...parameters } = call.body;
    if (!force) refuseIfUnsafe(found.name, call.services.capacity.evacuation(found));
    return written(await changeMaintenance(call.services.records, call.change(), found.id, "maintain", parameters));
  }),
  on(host.maintenanceCheck, (call) => {
    const check = call.services.capacity.evacuation(call.target("host", call.params.id, undefined));
    return json({ ...check, cannotMove: named(call, check) });
  }),
  on(host.devices, (call) => {
    const { cache, snapshot } = call.services.context;
    return json(devicesOfHost(call.target("host", call.params.id, undefined), cache.all("vm"), snapshot));
  }),
  on(host.numa, (call) => json(call.services.capacity.cells(call.target("host", call.params.id, undefined)))),
  on(host.rank, (call) => json(call.services.capacity.ranking(call.query))),
  on(plan.addHosts, async (call) => {
    call.everywhere("vm.view");
    const { like, cluster, machineCpus, machineMemoryBytes, ...query } = call.query;
    const { capacity, context } = call.services;
    const host = like === undefined ? undefined : call.target("host", like, undefined);
    const clusterId = host?.spec.cluster ?? capacity.cluster(cluster);
    const asked = machineCpus !== undefined || machineMemoryBytes !== undefined;
    const size = asked ? capacity.request({ cpus: machineCpus ?? 1, memoryBytes: machineMemoryBytes ?? 2 ** 30, cluster: clusterId }) : undefined;
    return json(await hostAddition({ ...query, like: host, cluster: clusterId, size }, context));
  }),
  on(plan.removeHosts, async (call) => {
    call.everywhere("vm.view");
    const hosts = call.query.hosts.map((host) => call.target("host", host, undefined));
    return json(await hostRemoval(hosts, call.services.context));
  }),
  on(plan.create, (call) => json(call.services.capacity.creation(call.query, call.query.count))),
  on(host.activate, async (call) =>
    written(await changeMaintenance(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "activate", call.body)),
  ),
  on(host.done, async (call) => {
    const found = call.target("host", call.params.id, undefined);
    return written(await tellRolling(call.services.records, call.change(), found.spec.cluster, { done: found }));
  }),
  on(cluster.maintain, async (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    return written(await maintainCluster(call.services.records, call.change(), found.id, call.body.hosts));
  }),
  on(cluster.pauseMaintenance, async (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    return written(await tellRolling(call.services.records, call.change(), found.id, { paused: true }));
  }),
  on(cluster.resumeMaintenance, async (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    return written(await tellRolling(call.services.records, call.change(), found.id, { paused: false }));
  }),
  on(host.upgrade, async (call) => {
    const found = call.target("host", call.params.id, undefined);
    const release = await carriedRelease(call.services.context);
    const target = { kind: "host", id: found.id, name: found.name } as const;
    return written(await upgradeAgents(call.services.records, call.change(), { target, hosts: [found], release, parallel: 1, ...call.body }));
  }),
  on(host.upgradeCheck, async (call) => {
    const found = call.target("host", call.params.id, undefined);
    const release = await carriedRelease(call.services.context);
    return json({ version: release.version, hosts: [upgradePreview(found, release)] });
  }),
  on(cluster.upgrade, async (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    const { hosts, ...how } = call.body;
    const release = await carriedRelease(call.services.context);
    const target = { kind: "cluster", id: found.id, name: found.name } as const;
    const members = membersOf(call.services.records, found, hosts);
    return written(await upgradeAgents(call.services.records, call.change(), { target, hosts: members, release, ...how }));
  }),
  on(cluster.upgradeCheck, async (call) => {
    const found = call.target("cluster", call.params.id, undefined);
    const release = await carriedRelease(call.services.context);
    return json({ version: release.version, hosts: membersOf(call.services.records, found, undefined).map((each) => upgradePreview(each, release)) });
  }),
  on(host.sleep, async (call) =>
    written(await askForPower(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "sleep", call.body.reason)),
  ),
  on(host.wake, async (call) =>
    written(await askForPower(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "wake", call.body.reason)),
  ),
  on(host.fence, async (call) =>
    written(await askToFence(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "fence")),
  ),
  on(host.confirmOff, async (call) =>
    written(await askToFence(call.services.records, call.change(), call.target("host", call.params.id, undefined).id, "confirm-off")),
  ),
];
function refuseIfUnsafe(name: string, { warnings, cannotMove }: EvacuationCheck): void {
  if (warnings.length === 0) return;
  const [first] = cannotMove;
  throw new SheafError("state-refused", `Host ${name} is not put into maintenance: ${warnings.join("; ")}.`, {
    ...(first ? { cause: first.why } : {}),
    next: `\`sheaf host maintain ${name} --check\` tells more; \`--force\` begins all the same.`,
  });
}

const named = (call: Call, { cannotMove }: EvacuationCheck) =>
  cannotMove.map(({ vm: id, why }) => ({ vm: id, name: call.services.context.cache.get("vm", id)?.name ?? id, why }));
