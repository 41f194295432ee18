/** Handlers of the verbs of machines. */
import { routes } from "@sheaf/contract";
import { json, on, written, type AnyHandler } from "./call.ts";

const { vm } = routes;

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
  on(vm.explain, (call) => json(call.services.capacity.explanation(call.target("vm", call.params.id, call.query.project)))),
  on(vm.adopt, async (call) => {
    const { references } = call.services.records;
    const found = call.target("host", call.params.id, undefined, "host.view");
    const project = references.project(call.caller, call.query.project);
    call.everywhere("vm.adopt");
    return json({ task: await call.services.vmVerbs.adopt(call.change(), found, project, call.params.uuid, call.body) });
  }),
];
