/**
 * One host's agent, put together from its parts: what the server sends goes to disk and to the reconcilers, what they see goes back as
 * reports, what the server calls is done. Made by `apps/agent/main.ts` and by tests with simulated ports. `stop` ends the agent and
 * nothing else: machines run on.
 */
import type { AgentMessage } from "@sheaf/contract";
import { deadline } from "@sheaf/base";
import { type Kind, SheafError, wishesForDevices } from "@sheaf/model";
import { exposition } from "@sheaf/telemetry";
import { AgentUpgrade } from "./agent-upgrade.ts";
import { adoptionAnswer } from "./adoption.ts";
import { CallDispatch, type CallHandlers } from "./call-dispatch.ts";
import { haveMigrationCertificates, writeMigrationCertificates } from "./certificates.ts";
import { CertificateKeeper } from "./certificate-keeper.ts";
import { Consoles } from "./consoles.ts";
import { DocumentIntake } from "./document-intake.ts";
import { GuestPauses } from "./guest-pauses.ts";
import { GuestWatch } from "./guest-watch.ts";
import { HostKeeper } from "./host-keeper.ts";
import { LoadMeter } from "./host-load.ts";
import { HostRest } from "./host-rest.ts";
import { ImageCache } from "./image-cache.ts";
import { ImageShelf } from "./image-shelf.ts";
import { KeptState } from "./kept-state.ts";
import { MediatedDevices } from "./mediated-devices.ts";
import { LiveChanges } from "./live-changes.ts";
import { logRing } from "./log-ring.ts";
import { MachineEquipment } from "./machine-equipment.ts";
import { MachineReconciler } from "./machine-reconciler.ts";
import { MachineSnapshots } from "./machine-snapshots.ts";
import { Migrations } from "./migration.ts";
import { readServers, writeServers } from "./known-servers.ts";
import { NetworkReconciler } from "./network-reconciler.ts";
import { PerKey } from "./per-key.ts";
import { PoolReconciler } from "./pool-reconciler.ts";
import { readPulse } from "./read-pulse.ts";
import type { AgentPorts, HypervisorEvent, Identity } from "./ports.ts";
import { readBootId } from "./host-inventory.ts";
import { guestFilesDirectory } from "./host-paths.ts";
import { ReportQueue } from "./report-queue.ts";
import { toPng } from "./screenshot.ts";
import { Sampler } from "./sampler.ts";
import { SelfFence } from "./self-fence.ts";
import { ServerLink } from "./server-link.ts";
import { StatisticsReader } from "./statistics-reader.ts";
import { TaskRunner } from "./task-runner.ts";
import { VolumeFiles } from "./volume-files.ts";
import { VolumeReconciler } from "./volume-reconciler.ts";

export interface AgentOptions {
  readonly version: string;
  readonly dataDirectory: string;
  /** Where QEMU looks for its certificates (qemu.conf: default_tls_x509_cert_dir). */
  readonly migrationCertificateDirectory: string;
  /** Where the server and other hosts reach this one. */
  readonly address: string;
  readonly identity: Identity;
  /** Somebody asks for `metrics`. */
  readonly exposesMetrics?: boolean;
}

export interface Agent {
  /** Ends the connection and all timers; resolves when what was being done has ended. Machines run on. */
  stop(): Promise<void>;
  /** Nothing is under way, pauses and timers aside. */
  readonly idle: boolean;
  readonly connected: boolean;
  /** Its server hears it, and will not ask for its pulse soon. */
  readonly calm: boolean;
  /** Newest figures of the host and its machines, as Prometheus reads them. */
  metrics(): string;
  /** Machines here rely on the watchdog that the pulse holds: it must not end with the agent. */
  readonly guards: boolean;
}

export async function startAgent(ports: AgentPorts, options: AgentOptions): Promise<Agent> {
  const { clock, files, processes, hypervisor, dialer, sockets, sinceBoot } = ports;
  const { hostId } = options.identity;
  const ring = logRing(ports.logger, () => clock.now());
  const { logger } = ring;
  const ending = new AbortController();
  await files.makeDirectory(options.dataDirectory, 0o711);
  // QEMU's own user reaches into these two.
  await files.makeDirectory(guestFilesDirectory, 0o711);
  for (const name of ["seeds", "nvram"]) await files.makeDirectory(`${guestFilesDirectory}/${name}`, 0o711);
  const kept = await KeptState.open({ files, logger, directory: options.dataDirectory });
  const bootId = await readBootId(files);
  let knownServers: readonly string[] = await readServers(files, options.dataDirectory);
  const keepServers = async (servers: readonly string[]): Promise<void> => {
    if (JSON.stringify(servers) !== JSON.stringify(knownServers)) await writeServers(files, options.dataDirectory, servers);
    knownServers = servers;
  };

  const reports = new ReportQueue(() => link.flushReports());
  const onHost = `status/hosts/${hostId}`;
  const certificates = new CertificateKeeper({
    clock,
    logger,
    files,
    dataDirectory: options.dataDirectory,
    migrationDirectory: options.migrationCertificateDirectory,
    identity: options.identity,
    migrationAddress: () => kept.document("host", hostId)?.spec.migrationAddress,
    request: (certificateRequest) => link.send({ type: "renew-certificate", certificateRequest }),
    renewed: () => link.redial(),
  });
  const identity = (): Identity => certificates.identity;

  const touch = (kind: Kind | "upgrade" | "host-inventory" | "certificate" | "guest" | "lease", id: string): void => keys.touch(`${kind}/${id}`);
  const withMachine = <T>(machineId: string, work: () => Promise<T>): Promise<T> => keys.exclusive(`vm/${machineId}`, work);
  const within = async <T>(work: Promise<T>, limitMs: number, what: string): Promise<T> => {
    const limit = deadline(clock, limitMs, () => new Error(what));
    try {
      return await Promise.race([
        work,
        new Promise<never>((_resolve, reject) => limit.signal.addEventListener("abort", () => reject(limit.signal.reason), { once: true })),
      ]);
    } finally {
      limit.done();
    }
  };

  const lease = await SelfFence.open({
    ...{ hostId, bootId, logger, files, hypervisor, kept, sinceBoot, within },
    server: () => link.serverUrl,
    changed: (what) => {
      if (what === "watchdog") return touch("host-inventory", "-");
      for (const { id } of kept.documents("vm")) touch("vm", id);
    },
  });
  const volumeFiles = new VolumeFiles(files, processes);
  const shelf = new ImageShelf({
    ...{ hostId, logger, files, volumeFiles },
    pools: () => kept.documents("pool"),
    wanted: () => equipment.wantedImages(),
    removed: (path) => {
      equipment.imageRemoved(path);
      const digest = /([0-9a-f]{64})\.\w+$/.exec(path)?.[1] ?? "";
      for (const { id, status } of kept.documents("image")) if (status.library?.digest === `sha256:${digest}`) reports.put("image", id, onHost, null);
    },
  });
  // From the server that is talked to.
  const current = (): Identity => ({ ...identity(), serverUrl: link.serverUrl });
  const images = new ImageCache({ files, dialer, logger, identity: current, shelf, report: (id, value) => reports.put("image", id, onHost, value) });
  const pools = new PoolReconciler({
    ...{ hostId, kept, files, within, dataDirectory: options.dataDirectory },
    trimImages: (path) =>
      shelf
        .makeRoom(path, 0)
        .catch((error: unknown) => logger.warn({ pool: path, reason: String(error) }, "images that are not needed could not be taken out of a pool")),
    report: (id, value) => reports.put("pool", id, onHost, value),
  });
  const networks = new NetworkReconciler({
    hostId,
    kept,
    files,
    processes,
    logger,
    report: (id, value) => reports.put("network", id, onHost, value),
    changed: (id) => {
      for (const vm of kept.documents("vm")) if (vm.spec.nics.some((nic) => nic.network === id)) touch("vm", vm.id);
    },
  });
  const volumes = new VolumeReconciler({
    hostId,
    logger,
    kept,
    files,
    volumeFiles,
    hypervisor,
    images,
    signal: ending.signal,
    withMachine,
    diskTarget: async (machineId, path) => (await hypervisor.describe(machineId, "live")).disks.find((disk) => disk.path === path)?.target ?? null,
    report: (id, value) => reports.put("volume", id, "status/agent", value),
    changed: (id) => {
      for (const vm of kept.documents("vm")) if (vm.spec.disks.some((disk) => disk.volume === id)) touch("vm", vm.id);
    },
  });
  const upgrade = await AgentUpgrade.open({
    ...{ clock, logger, kept, dialer, installation: ports.installation, identity: current, signal: ending.signal },
    migrating: () => kept.machineIds().some((id) => migrations.active(id)),
    changed: () => touch("host-inventory", "-"),
  });
  const host = new HostKeeper({
    ...{ hostId, bootId, clock, logger, files, processes, hypervisor, kept, pools },
    version: options.version,
    installation: () => upgrade.facts,
    address: options.address,
    intake: () => intake,
    watchdog: () => lease.watchdog,
    learned: () => {
      for (const { id } of kept.documents("vm")) touch("vm", id);
    },
    devicesChanged: () => {
      for (const { id, spec } of kept.documents("vm")) if (wishesForDevices(spec)) touch("vm", id);
    },
    report: (value) => reports.put("host", hostId, "status/agent", value),
  });
  const equipment = new MachineEquipment({
    ...{ hostId, clock, kept, files, processes, images, volumes, networks },
    signal: ending.signal,
    host: () => host.rendering,
    devices: () => host.devices,
    changed: (machineId) => touch("vm", machineId),
  });
  const snapshots = new MachineSnapshots({ kept, files, hypervisor, logger });
  const migrations = new Migrations({
    ...{ hostId, clock, logger, kept, hypervisor, snapshots },
    exclusively: withMachine,
    document: (machineId, signal) => intake.machine(machineId, signal),
    makeReady: (vm, disks, signal) => equipment.makeReady(vm, disks, signal),
    giveUp: (vm, machineId, sharedStorage) => equipment.giveUp(vm, machineId, sharedStorage),
    arrived: (vm, epoch) => equipment.arrived(vm, epoch),
    movedAway: (vm, machineId, shared) => equipment.movedAway(vm, machineId, shared),
    localDisks: (vm) => equipment.localDisks(vm),
    binding: (vm, numa) => equipment.binding(vm, numa),
    volumePath: (volumeId) => equipment.volumePath(volumeId),
    certificateReady: () => haveMigrationCertificates(files, options.migrationCertificateDirectory),
    certificateNames: (address) => certificates.names(address),
    progress: (task, fields) => link.send({ type: "progress", task, fields }),
    log: (task, text) => link.send({ type: "log", task, at: clock.now(), text }),
  });
  const rest = new HostRest({
    ...{ bootId, clock, logger, files, processes, hypervisor },
    settled: async () => void (await Promise.all(kept.machineIds().map((id) => withMachine(id, async () => {})))),
    over: () => {
      for (const { id } of kept.documents("vm")) touch("vm", id);
    },
  });
  const machines = new MachineReconciler({
    ...{ hostId, bootId, clock, logger, kept, files, hypervisor },
    liveChanges: new LiveChanges(),
    mediatedDevices: new MediatedDevices(files),
    input: (vm) => equipment.input(vm),
    synced: () => intake.synced,
    isCurrent: (id) => intake.isCurrent(id),
    lease,
    quiet: () => rest.quiet,
    migrating: (id) => migrations.active(id),
    report: (id, value) => reports.put("vm", id, "status/agent", value),
    forgotten: (id) => {
      reports.forget("vm", id);
      touch("host-inventory", "-");
    },
    takenOver: () => touch("host-inventory", "-"),
  });
  const tasks = new TaskRunner({
    hostId,
    clock,
    kept,
    hypervisor,
    withMachine,
    report: (id, value) => reports.put("task", id, "status/agent", value),
  });
  const pauses = new GuestPauses();
  const guests = new GuestWatch({ hostId, clock, logger, kept, hypervisor, withMachine });
  const consoles = new Consoles({
    ...{ hypervisor, sockets, logger },
    send: (stream, bytes) => link.sendStream(stream, bytes),
    ended: (stream, reason) => link.send({ type: "stream-end", stream, ...(reason === undefined ? {} : { reason }) }),
  });
  const intake = new DocumentIntake({
    hostId,
    clock,
    logger,
    kept,
    touch,
    released: (message) => equipment.released(message),
    returned: (id) => equipment.returned(id),
  });
  const isOurs = (uuid: string): boolean => kept.document("vm", uuid)?.placement?.host === hostId;
  const statistics = new StatisticsReader({ clock, files, hypervisor });
  const load = new LoadMeter({ files, statistics, isOurs });
  const sampler = await Sampler.open({
    ...{ clock, logger, files, statistics, isOurs, dataDirectory: options.dataDirectory },
    send: (batch) => link.send({ type: "samples", ...batch }),
    always: options.exposesMetrics === true,
  });
  const dispatch = new CallDispatch({ clock, logger, handlers: callHandlers() });

  /** Whether the server may yet call for it: its document says so, or has not come yet. A machine that it takes from this host does not move here any more. */
  function isMoving(id: string): boolean {
    const vm = kept.document("vm", id);
    return vm ? vm.status.migration !== undefined : kept.machine(id)?.removal === undefined;
  }

  /** What each key stands for. */
  async function look(key: string): Promise<{ againAfterMs?: number } | void> {
    const [kind = "", id = ""] = key.split("/");
    switch (kind) {
      case "vm":
        if (intake.synced) await afterMigration(id);
        if (guests.begins(id)) touch("guest", id);
        return machines.reconcile(id);
      case "volume":
        return (await equipment.releasedVolume(id)) ? undefined : volumes.reconcile(id);
      case "network":
        return networks.reconcile(id);
      case "pool":
        return pools.reconcile(id);
      case "image":
        return equipment.releasedImage(id);
      case "task":
        return tasks.run(id);
      case "guest": {
        const { facts, answer } = await host.guest(id);
        const changed = machines.guestAgent(id, facts);
        const restarts = kept.machine(id)?.restarts;
        const watchMs = await guests.look(id, answer);
        if (changed || kept.machine(id)?.restarts !== restarts) touch("vm", id);
        if (answer !== "answers") pauses.forget(id);
        const pauseMs = answer === "answers" ? pauses.after(id, changed) : Number.POSITIVE_INFINITY;
        const next = Math.min(pauseMs, watchMs ?? Number.POSITIVE_INFINITY);
        return Number.isFinite(next) ? { againAfterMs: next } : undefined;
      }
      case "upgrade": {
        const againAfterMs = await upgrade.look(link.connected && intake.synced && host.rendering !== null);
        return againAfterMs === undefined ? undefined : { againAfterMs };
      }
      case "host":
        touch("certificate", "-");
        touch("lease", "-");
        return host.look();
      case "lease":
        return lease.look();
      case "host-inventory":
        return host.look();
      case "certificate":
        return certificates.look(link.connected);
      default:
        return undefined;
    }
  }

  /** The server says that the machine does not move: what a broken-off move left is put right. */
  async function afterMigration(id: string): Promise<void> {
    if (isMoving(id)) return;
    migrations.settled(id);
    const vm = kept.document("vm", id);
    if (!vm) return;
    if (vm.placement?.host === hostId && !migrations.active(id) && vm.deletedAt === undefined) await snapshots.bringBack(vm);
  }

  const keys = new PerKey({
    clock,
    run: look,
    failed: (key, error, retryAfterMs) => {
      const [kind = "", id = ""] = key.split("/");
      logger.warn(
        { key, reason: error instanceof Error ? error.message : String(error), retryAfterMs },
        "this could not be looked after; it is tried again",
      );
      if (kind === "vm")
        void machines
          .failed(id, error)
          .catch((problem: unknown) => logger.error({ key, reason: String(problem) }, "a machine's problem could not be noted"));
      // The host's problems may be others now; what cannot be read itself waits for its pause.
      if (kind !== "host-inventory") touch("host-inventory", "-");
    },
  });

  const link = new ServerLink({
    ...{ clock, sinceBoot },
    random: ports.random,
    logger,
    dialer,
    identity,
    reports,
    servers: () => [...new Set([...knownServers, identity().serverUrl])],
    handlers: {
      hello: async () => ({ agentVersion: options.version, hostId, bootId, machines: await managedMachines() }),
      welcome: async ({ incarnation, servers, restoring, samples }) => {
        intake.expectSync();
        sampler.welcomed(samples === true);
        // That this boot was heard of stands on the disk only when what came with it does: the next agent would start what was moved away.
        const heard = kept.welcome?.bootId === bootId ? bootId : "";
        await kept.setWelcome({ incarnation, bootId: heard, ...(restoring === true ? { restoring } : {}) });
        if (servers !== undefined) await keepServers(servers);
        touchAll();
      },
      servers: keepServers,
      sync: ({ documents }) =>
        intake.sync(documents, async () => {
          if (kept.welcome && kept.welcome.bootId !== bootId) await kept.setWelcome({ ...kept.welcome, bootId });
          lease.synced();
        }),
      upsert: ({ document }) => intake.upsert(document),
      remove: (message) => intake.remove(message),
      call: (message) => dispatch.run(message),
      cancel: (id) => dispatch.cancel(id),
      certificate: (pem) => certificates.received(pem),
      sampled: (slot) => sampler.acknowledged(slot),
      streamData: (stream, bytes) => consoles.data(stream, bytes),
      streamEnd: (stream) => consoles.close(stream),
      drained: () => consoles.drained(),
      disconnected: () => {
        if (intake.abandonSync()) touchAll();
        consoles.closeAll();
        sampler.disconnected();
        upgrade.disconnected();
        lease.disconnected();
        dispatch.disconnected();
      },
      load: () => load.read(),
      promise: () => lease.promise(),
      welcomed: (sentAtMs, leaseMs) => lease.welcomed(sentAtMs, leaseMs),
      granted: (sentAtMs, grant, promised) => lease.granted(sentAtMs, grant, promised),
    },
  });

  /** All this agent answers for: by its disk, and by the domains that carry Sheaf's mark. */
  async function managedMachines(): Promise<Extract<AgentMessage, { type: "hello" }>["machines"]> {
    const found = new Map<string, { id: string; epoch: number; incarnation: string; incoming?: boolean }>();
    for (const { id, placement } of kept.documents("vm"))
      if (placement?.host === hostId) found.set(id, { id, epoch: placement.epoch, incarnation: placement.incarnation });
    for (const id of kept.machineIds()) {
      const held = kept.machine(id)?.held;
      if (held && !found.has(id)) found.set(id, { id, epoch: held.epoch, incarnation: held.incarnation });
    }
    const domains = await within(hypervisor.domains(), 5000, "the hypervisor does not answer").catch(() => []);
    for (const { uuid, mark } of domains) {
      if (!mark) continue;
      const migration = kept.machine(uuid)?.migration;
      const incoming = migration?.role === "target" && !migration.mayHaveRun;
      if (incoming && found.has(uuid)) continue;
      const epoch = Math.max(mark.epoch, found.get(uuid)?.epoch ?? 0);
      found.set(uuid, { id: uuid, epoch, incarnation: mark.incarnation, ...(incoming ? { incoming } : {}) });
    }
    return [...found.values()];
  }

  function touchAll(): void {
    for (const kind of ["pool", "network", "volume", "vm", "task"] as const) for (const { id } of kept.documents(kind)) touch(kind, id);
    for (const id of kept.machineIds()) touch("vm", id);
    for (const id of equipment.unreleased()) touch(id.kind, id.id);
    for (const kind of ["host-inventory", "certificate", "lease", "upgrade"] as const) touch(kind, "-");
  }

  function onEvent(event: HypervisorEvent): void {
    switch (event.type) {
      case "connected":
        host.forgetFacts();
        return touchAll();
      case "disconnected":
        return touch("host-inventory", "-");
      case "guest-agent":
        return touch("guest", event.uuid);
      case "lifecycle": {
        const ours = kept.document("vm", event.uuid) !== undefined || kept.machine(event.uuid) !== undefined;
        // What is not Sheaf's is shown with its state.
        if (!ours || event.event === "defined" || event.event === "undefined" || event.event === "stopped") touch("host-inventory", "-");
        if (ours) touch("vm", event.uuid);
        return;
      }
      default:
        if (kept.document("vm", event.uuid)) touch("vm", event.uuid);
    }
  }

  function callHandlers(): CallHandlers {
    return {
      "migrate.begin": (call, context) => migrations.begin(call, context),
      "migrate.prepare": async (call, context) => {
        rest.mustBeAwake();
        return migrations.prepare(call, context);
      },
      // However it ends: what could not be settled while memory moved can be now.
      "migrate.perform": (call, context) => migrations.perform(call, context).finally(() => touch("vm", call.vmId)),
      "migrate.finish": async (call, context) => afterwards(call.vmId, await migrations.finish(call, context)),
      "migrate.confirm": async (call, context) => afterwards(call.vmId, await migrations.confirm(call, context)),
      "migrate.abort": (call, context) => migrations.abort(call, context),
      "vm.probe": (call) => migrations.probe(call),
      "vm.screenshot": async ({ vmId }) => {
        await mustManage(vmId);
        const { mime, bytes } = await hypervisor.screenshot(vmId);
        return { mime: "image/png", base64: Buffer.from(toPng(mime, bytes)).toString("base64") };
      },
      "console.open": async ({ vmId, stream, type }, { signal }) => {
        await mustManage(vmId);
        await consoles.open(vmId, stream, type, signal);
        return {};
      },
      "vm.adopt": (question) => adoptionAnswer(question, { hypervisor, processes, cgroupVersion: host.rendering?.cgroupVersion ?? 2 }),
      "pool.pulse": async ({ poolId, hostId: other }) => ({ pulse: await readPulse(files, kept.document("pool", poolId), other) }),
      "agent.upgrade": async (order) => {
        await upgrade.order(order);
        return {};
      },
      "host.sleep": ({ bootId: boot }) => rest.fallAsleep(boot),
      "host.wakeNeighbour": async (packet) => ({ sentTo: await ports.sendMagicPacket(packet) }),
      "host.logs": async ({ lines }) => ({ lines: ring.lines(lines) }),
    };
  }

  const afterwards = <T>(vmId: string, result: T): T => {
    touch("vm", vmId);
    return result;
  };

  async function mustManage(vmId: string): Promise<void> {
    const domain = await hypervisor.domain(vmId);
    if (!domain?.mark) throw new SheafError("not-found", "this host has no such machine");
  }

  await writeMigrationCertificates(files, options.migrationCertificateDirectory, identity());
  const unsubscribe = hypervisor.subscribe(onEvent);
  touchAll();
  link.start();
  return {
    get idle() {
      return keys.busy === 0;
    },
    get connected() {
      return link.connected;
    },
    get calm() {
      return link.calm;
    },
    get guards() {
      return lease.guards;
    },
    metrics() {
      const { host: figures = [], vms = [] } = sampler.newest ?? {};
      const machines = vms.map(
        (vm) => ({ kind: "vm", labels: { vm: vm.id, name: kept.document("vm", vm.id)?.name ?? "" }, figures: vm.figures }) as const,
      );
      return exposition([{ kind: "host", labels: {}, figures }, ...machines]);
    },
    async stop() {
      ending.abort(new Error("the agent is stopping"));
      unsubscribe();
      consoles.closeAll();
      await link.stop();
      const settled = Promise.all([keys.stop(), sampler.stop()]);
      migrations.close();
      // What still waits for an answer of the hypervisor ends by this.
      hypervisor.close();
      await settled;
    },
  };
}
