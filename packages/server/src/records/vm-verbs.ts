/**
 * Verbs of machines. Those that are a wanted state (start, stop, pause …) change the spec; those that are work (reboot, reset, migrate,
 * clone, adopt) make a task. All ask the one table of what is allowed (model/vm-state). Called by the routes.
 */
import { addUsage, noUsage, partKey, quotaUsageOf, SheafError, vmRefusal, type Kind, type RecordOf, type SpecOf, type VmAction } from "@sheaf/model";
import { nameTaken, requireRevision, storedPart, type Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import { blanked } from "./present.ts";
import type { Planned } from "./record-writer.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask, type NewTask } from "./tasks.ts";
import { addVolume } from "./vm-disks.ts";
import { newNics } from "./vm-nics.ts";
import { touchVolume } from "./volume-rules.ts";

type Vm = RecordOf<"vm">;

export class VmVerbs {
  readonly #services: RecordServices;

  constructor(services: RecordServices) {
    this.#services = services;
  }

  start(request: ChangeRequest, id: string): Promise<Written> {
    return this.#power(request, id, "start", (vm) => {
      for (const { volume } of vm.spec.disks)
        if (volume !== undefined && this.#services.index.references("volume", volume) > 1)
          throw new SheafError("state-refused", `Machine ${vm.name} cannot start: one of its disks is being copied.`, {
            next: "Wait until the copy is made.",
          });
      return { ...ordinaryStop(vm.spec), power: "running", startRequest: vm.spec.startRequest + 1 };
    });
  }

  /** @param graceMs how long the guest may take to shut down, from now on; absent: as the machine says */
  stop(request: ChangeRequest, id: string, graceMs: number | undefined): Promise<Written> {
    return this.#power(request, id, "stop", ({ spec }) => ({
      ...ordinaryStop(spec),
      power: "stopped",
      ...(graceMs === undefined ? {} : { stopGraceOnceMs: graceMs }),
    }));
  }

  forceOff(request: ChangeRequest, id: string): Promise<Written> {
    return this.#power(request, id, "force-off", (vm) => ({ ...vm.spec, power: "stopped" }));
  }

  pause(request: ChangeRequest, id: string): Promise<Written> {
    return this.#power(request, id, "pause", (vm) => ({ ...vm.spec, power: "paused" }));
  }

  resume(request: ChangeRequest, id: string): Promise<Written> {
    return this.#power(request, id, "resume", (vm) => ({ ...vm.spec, power: "running" }));
  }

  reboot(request: ChangeRequest, id: string): Promise<Written> {
    return this.#work(request, id, "reboot", (vm) => onHost(vm));
  }

  reset(request: ChangeRequest, id: string): Promise<Written> {
    return this.#work(request, id, "reset", (vm) => onHost(vm));
  }

  migrate(
    request: ChangeRequest,
    id: string,
    parameters: Readonly<Record<string, unknown>> & { readonly host?: string | undefined },
  ): Promise<Written> {
    return this.#work(request, id, "migrate", (vm) => {
      const { host: wanted, ...rest } = parameters;
      const host = wanted === undefined ? undefined : this.#services.references.above("host", wanted, "/host");
      if (host !== undefined && vm.placement?.host === host.id)
        throw new SheafError("state-refused", `Machine ${vm.name} is on host ${host.name} already.`, { next: "Name another host, or none." });
      if (host !== undefined && host.spec.schedulable !== "open")
        throw new SheafError("state-refused", `Host ${host.name} takes no machines: it is ${host.spec.schedulable}.`, {
          next: "Activate it, or name another host.",
        });
      // A controller does it, between two hosts.
      return { parameters: { ...defined(rest), ...(host === undefined ? {} : { host: host.id }) } };
    });
  }

  /** A power state that is wanted from now on. Cutting the power is more than the state it leads to: the agent hears it as a task. */
  #power(request: ChangeRequest, id: string, verb: VmAction & NewTask["verb"], wanted: (vm: Vm) => SpecOf<"vm">): Promise<Written> {
    return this.#services.writer.write(request.asker, () => {
      const vm = this.#allowed(verb, id);
      const draft = new Draft();
      requireRevision(draft, request, vm);
      const next = { ...storedPart<"vm">(vm), generation: vm.generation + 1, spec: wanted(vm) };
      draft.put(partKey("vm", vm.id, "spec"), next);
      const host = verb === "force-off" ? vm.placement?.host : undefined;
      const task = addTask(this.#workOf(request, draft, vm), {
        verb,
        target: { kind: "vm", id: vm.id, name: vm.name },
        generation: next.generation,
        ...(host === undefined ? {} : { host }),
      });
      return this.#planned(vm, draft, task, { ...vm, ...next }, JSON.stringify(blanked(next)));
    });
  }

  #work(
    request: ChangeRequest,
    id: string,
    verb: VmAction & NewTask["verb"],
    detail: (vm: Vm) => Pick<NewTask, "host" | "parameters">,
  ): Promise<Written> {
    return this.#services.writer.write(request.asker, () => {
      const vm = this.#allowed(verb, id);
      const draft = new Draft();
      requireRevision(draft, request, vm);
      const { host, parameters } = detail(vm);
      const task = addTask(this.#workOf(request, draft, vm), {
        verb,
        target: { kind: "vm", id: vm.id, name: vm.name },
        ...(host === undefined ? {} : { host }),
        ...(parameters === undefined ? {} : { parameters }),
      });
      return this.#planned(vm, draft, task, vm, JSON.stringify(parameters ?? {}));
    });
  }

  #planned(vm: Vm, draft: Draft, task: string, next: Vm, after: string): Planned<Written> {
    return {
      draft,
      target: `vm/${vm.id}`,
      project: vm.project,
      before: JSON.stringify(blanked(storedPart(vm))),
      after,
      receipt: { kind: "vm", id: vm.id, task },
      answer: (revision) => {
        const specRevision = next === vm ? vm.specRevision : revision;
        return {
          id: vm.id,
          specRevision,
          record: this.#services.presenter.text({ ...next, revision: Math.max(vm.revision, specRevision), specRevision }),
          task,
        };
      },
    };
  }

  #workOf(request: ChangeRequest, draft: Draft, vm: { readonly id: string; readonly name: string; readonly project?: string | undefined }): Work {
    return {
      services: this.#services,
      request,
      draft,
      id: vm.id,
      name: vm.name,
      projectId: vm.project ?? "",
      now: this.#services.context.clock.now(),
    };
  }

  /** @throws SheafError `not-found`, `state-refused`, `host-unreachable` */
  #allowed(action: VmAction, id: string): Vm {
    const vm = this.#services.context.cache.get("vm", id);
    if (vm === undefined) throw new SheafError("not-found", `There is no machine ${id} any more.`);
    const refusal = vmRefusal(action, this.#services.presenter.vmState(vm), vm.spec);
    if (refusal !== null) {
      const [why, next] = splitRefusal(refusal);
      throw new SheafError("state-refused", `Machine ${vm.name} cannot do "${action}" now: ${why}.`, next === undefined ? {} : { next });
    }
    return vm;
  }

  /** A full copy of a stopped machine: same spec, own disks, own MACs and addresses. */
  async clone(request: ChangeRequest, id: string, name: string): Promise<Written> {
    const { quotas, context } = this.#services;
    const source = this.#allowed("clone", id);
    const project = context.cache.get("project", source.project ?? "");
    if (project === undefined) throw new SheafError("not-found", `The project of machine ${source.name} is gone.`);
    return quotas.inTurn(project, () =>
      this.#services.writer.write(request.asker, async () => {
        const vm = this.#allowed("clone", id);
        const draft = new Draft();
        try {
          const { planned, uses } = this.#planClone(request, draft, vm, project, name);
          await quotas.use(draft, project, uses);
          return planned;
        } catch (error) {
          draft.abandon();
          throw error;
        }
      }),
    );
  }

  #planClone(request: ChangeRequest, draft: Draft, vm: Vm, project: RecordOf<"project">, name: string) {
    const { cache, clock } = this.#services.context;
    if (cache.byName("vm", project.id, name) !== undefined) throw nameTaken("vm", name, project);
    const id = this.#services.newId();
    draft.unchanged(vm);
    draft.unchanged(project);
    draft.claimName("vm", project.id, name, id, { refusal: () => nameTaken("vm", name, project) });
    const work = this.#workOf(request, draft, { id, name, project: project.id });
    let uses = noUsage;
    const disks = vm.spec.disks.map((disk) => {
      const volume = cache.get("volume", disk.volume ?? "");
      if (volume === undefined)
        throw new SheafError("state-refused", `Disk ${disk.name} of machine ${vm.name} has no volume yet.`, { next: "Wait until it is made." });
      touchVolume(work, volume, {});
      uses = addUsage(uses, quotaUsageOf("volume", volume.spec));
      const { host: _host, source: _source, file: _file, ...spec } = volume.spec;
      const { image: _image, ...rest } = disk;
      return { ...rest, clone: "full" as const, volume: addVolume(work, `${name}-${disk.name}`, { ...spec, source: { volume: volume.id } }) };
    });
    const { hostname: _hostname, ...cloudInit } = vm.spec.cloudInit;
    // Addresses and MACs are the copy's own; fixed ones of the original cannot be.
    const nics = newNics(
      work,
      vm.spec.nics.map(({ mac: _mac, addresses, ...nic }) => ({ ...nic, ...(addresses?.length === 0 ? { addresses } : {}) })),
    );
    const number = this.#services.numbers.claim(draft, "vm", id, undefined);
    const spec: SpecOf<"vm"> = { ...ordinaryStop(vm.spec), disks, nics, cloudInit, power: "stopped", startRequest: 0, protected: false };
    const part = {
      ...storedPart<"vm">(vm),
      id,
      name,
      number,
      generation: 1,
      createdAt: clock.now(),
      createdBy: request.caller.userName,
      finalizers: ["domain", "volumes"],
      spec,
    };
    draft.put(partKey("vm", id, "spec"), part);
    const task = addTask(work, { verb: "clone", target: { kind: "vm", id, name }, generation: 1, parameters: { source: vm.id } });
    const record = { ...part, status: {} };
    const planned: Planned<Written> = {
      draft,
      target: `vm/${id}`,
      project: project.id,
      after: JSON.stringify(blanked(part)),
      receipt: { kind: "vm", id, task },
      answer: (revision) => ({
        id,
        specRevision: revision,
        record: this.#services.presenter.text({ ...record, revision, specRevision: revision } as RecordOf<Kind>), // a machine is a record of some kind
        task,
      }),
    };
    return { planned, uses: addUsage(uses, quotaUsageOf("vm", spec)) };
  }

  /** Takes over a domain that Sheaf did not make. The adoption controller does it, with the host's agent; the machine's record is made there. */
  adopt(
    request: ChangeRequest,
    host: RecordOf<"host">,
    project: RecordOf<"project">,
    domainId: string,
    { name, acceptLosses }: { readonly name: string; readonly acceptLosses: boolean },
  ): Promise<string> {
    const { cache } = this.#services.context;
    const uuid = domainId.toLowerCase();
    return this.#services.writer.write(request.asker, () => {
      if (!this.#services.presenter.hostReachable(host.id))
        throw new SheafError("host-unreachable", `Host ${host.name} is not connected.`, { next: "Wait until it is back." });
      const domain = cache.get("host", host.id)?.status.agent?.unmanaged.find((one) => one.uuid === uuid);
      if (domain === undefined)
        throw new SheafError("not-found", `Host ${host.name} has no unmanaged domain ${uuid}.`, { next: "Look at the host: it lists them." });
      if (cache.byName("vm", project.id, name) !== undefined) throw nameTaken("vm", name, project);
      const draft = new Draft();
      draft.unchanged(project);
      const work = this.#workOf(request, draft, { id: host.id, name, project: project.id });
      const task = addTask(work, {
        verb: "adopt",
        target: { kind: "host", id: host.id, name: host.name },
        parameters: { uuid, name, project: project.id, number: this.#services.numbers.draw(draft, "vm"), acceptLosses },
      });
      return {
        draft,
        target: `host/${host.id}`,
        project: project.id,
        after: JSON.stringify({ uuid, name }),
        receipt: { kind: "task", id: task, task },
        answer: () => task,
      };
    });
  }
}

/** Without what one stop alone was to have. */
export function ordinaryStop({ stopGraceOnceMs: _once, ...spec }: SpecOf<"vm">): SpecOf<"vm"> {
  return spec;
}

function onHost(vm: Vm): Pick<NewTask, "host"> {
  if (vm.placement === undefined)
    throw new SheafError("state-refused", `Machine ${vm.name} is on no host yet.`, { next: "Wait until it is placed." });
  return { host: vm.placement.host };
}

/** `why: what would allow it` in two. */
function splitRefusal(refusal: string): [string, string | undefined] {
  const colon = refusal.indexOf(": ");
  if (colon === -1) return [refusal, undefined];
  const next = refusal.slice(colon + 2);
  return [refusal.slice(0, colon), `${next.charAt(0).toUpperCase()}${next.slice(1)}.`];
}

const defined = (fields: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
