/** Handlers of the verbs of machines and hosts. */
import { routes } from "@sheaf/contract";
import { carriedRelease, membersOf, upgradeAgents, upgradePreview } from "../records/agent-upgrades.ts";
import { askToFence, changeMaintenance } from "../records/host-verbs.ts";
import { SheafError } from "@sheaf/model";
import type { EvacuationCheck } from "@sheaf/planning";
import { maintainCluster, tellRolling } from "../records/rolling-maintenance.ts";
import { json, on, written, type AnyHandler, type Call } from "./call.ts";

const { vm, host, cluster } = routes;

export const vmHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(vm.start, async (call) => written(await call.services.vmVerbs.start(call.change(), call.target("vm", call.params.id, call.query.project).id))),
  on(vm.stop, async (call) =>
    written(await call.services.vmVerbs.stop(call.change(), call.target("vm", call.params.id, call.query.project).id, call.body.graceMs)),
  ),
  on(vm.forceOff, async (call) =>
    written(await call.services.vmVerbs.forceOff(call.change(), call.target("vm", call.params.id, call.query.project).id)),
  ),
  on(vm.reboot, async (call) => written(await call.services.vmVerbs.reboot(call.change(), call.target("vm", call.params.id, call.query.project).id))),
  on(vm.reset, async (call) => written(await call.services.vmVerbs.reset(call.change(), call.target("vm", call.params.id, call.query.project).id))),
  on(vm.pause, async (call) => written(await call.services.vmVerbs.pause(call.change(), call.target("vm", call.params.id, call.query.project).id))),
  on(vm.resume, async (call) => written(await call.services.vmVerbs.resume(call.change(), call.target("vm", call.params.id, call.query.project).id))),
  on(vm.clone, async (call) =>
    written(await call.services.vmVerbs.clone(call.change(), call.target("vm", call.params.id, call.query.project).id, call.body.name)),
  ),
  on(vm.migrate, async (call) =>
    written(await call.services.vmVerbs.migrate(call.change(), call.target("vm", call.params.id, call.query.project).id, call.body)),
  ),
  on(vm.targets, (call) => json({ hosts: call.services.capacity.targets(call.target("vm", call.params.id, call.query.project)) })),
  on(vm.adopt, async (call) => {
    const { references } = call.services.records;
    const found = call.target("host", call.params.id, undefined, "host.view");
    const project = references.project(call.caller, call.query.project);
    call.everywhere("vm.adopt");
    return json({ task: await call.services.vmVerbs.adopt(call.change(), found, project, call.params.uuid, call.body) });
  }),
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
