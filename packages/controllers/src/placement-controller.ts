/**
 * Gives machines and volumes a host. Sole writer of `placement` (live migration moves it on by compare-and-set) and of `status/placement`.
 * All decisions are made by one look at a time (key `batch`), on one snapshot that is changed as each decision is made and set right when
 * its transaction fails. Woken by what has no host, and by capacity that changes: then those that wait are looked at again, gathered for
 * a moment, one of each shape instead of all.
 */
import { hasGivenWay, type NumaPlacement, partKey, type PlacedDevices, placedDevices, type Placement, type RecordOf } from "@sheaf/model";
import { planVolumeHome, shapeOf } from "@sheaf/planning";
import { fitsWhenWoken, planBatch, type PlacementDecision, type PlacementRequest, type SnapshotIndex } from "@sheaf/scheduling";
import { Overtaken } from "./commit.ts";
import type { ControllerContext, RecordChange } from "./context.ts";
import type { Controller } from "./controller.ts";
import { commitAll, put, type Decision } from "./packed-commit.ts";
import type { SiteIndex } from "./site-index.ts";
import { WaitingRoom } from "./waiting-room.ts";

/** Decided on one snapshot before anything is written: bounds how long others wait for their turn. */
export const batchSize = 512;
/** Texts of waiting machines written in one look. */
const textsPerLook = 512;
/** Pause between looks at what is held back after a restore. */
const heldBackAgainMs = 1000;

type Placed = { readonly kind: "vm" | "volume"; readonly id: string };
interface Candidate {
  readonly record: RecordOf<"vm"> | RecordOf<"volume">;
  readonly request: PlacementRequest;
}
interface Refusal {
  readonly record: RecordOf<"vm"> | RecordOf<"volume">;
  readonly shape: string;
  readonly reason: string;
}

export function placementController(context: ControllerContext, index: SiteIndex, snapshot: SnapshotIndex): Controller {
  const { cache, clock, store, settings, logger } = context;
  const room = new WaitingRoom();
  /** Volumes whose home may have changed. */
  const volumesToLookAt = new Set<string>();
  /** Something waits until the hosts of a restored site have been heard. */
  let somethingIsHeldBack = false;
  let capacityChanged = true;
  let lastRetryAt = Number.NEGATIVE_INFINITY;

  return {
    name: "placement",
    reads: ["vm", "volume", "host", "pool", "network", "cluster"],
    writes: ["vm/placement", "vm/status/placement", "volume/placement", "volume/status/placement"],
    initialKeys: () => {
      room.clear();
      capacityChanged = true;
      for (const volume of cache.all("volume")) volumesToLookAt.add(volume.id);
      return ["batch"];
    },
    keysFor(change) {
      const wakes = note(change);
      return wakes ? ["batch"] : [];
    },
    async reconcile(_key, signal) {
      for (const id of [...volumesToLookAt]) {
        volumesToLookAt.delete(id);
        if (index.unplacedVolumes.has(id)) continue;
        try {
          await followMachine(id);
        } catch (error) {
          volumesToLookAt.add(id);
          throw error;
        }
      }
      while (!signal.aborted) {
        const fresh = freshOnes();
        if (fresh.length === 0) break;
        await place(fresh);
      }
      if (!capacityChanged || room.size === 0) return somethingIsHeldBack ? heldBackAgainMs : undefined;
      const waitMs = lastRetryAt + settings.placementBatchMs - clock.monotonic();
      if (waitMs > 0) return waitMs;
      lastRetryAt = clock.monotonic();
      capacityChanged = false;
      try {
        return await retry(signal);
      } catch (error) {
        capacityChanged = true;
        throw error;
      }
    },
  };

  /** @returns whether there is something to do */
  function note({ kind, id, record, previous }: RecordChange): boolean {
    switch (kind) {
      case "host":
      case "cluster":
      case "pool":
      case "network":
        capacityChanged = true;
        return room.size > 0;
      case "vm": {
        const vm = record as RecordOf<"vm"> | undefined; // the kind says so
        const before = previous as RecordOf<"vm"> | undefined;
        // With a claim it asks for its host alone, without it for any.
        if (!vm || vm.status.claim !== before?.status.claim) room.leave(id);
        if (before && vm?.status.yield !== before.status.yield) capacityChanged = true;
        if (before && vm && hasGivenWay(vm) !== hasGivenWay(before)) capacityChanged = true;
        if (vm?.placement !== before?.placement || vm?.spec !== before?.spec || vm?.status.migration !== before?.status.migration)
          for (const { volume } of (vm ?? before)?.spec.disks ?? []) if (volume !== undefined) volumesToLookAt.add(volume);
        if (before?.placement && (vm?.placement !== before.placement || vm.spec !== before.spec || (before.status.migration && !vm.status.migration)))
          capacityChanged = true;
        if (before && vm?.spec !== before.spec) for (const { volume } of before.spec.disks) if (volume !== undefined) volumesToLookAt.add(volume);
        return index.unplacedVms.has(id) || volumesToLookAt.size > 0 || (capacityChanged && room.size > 0);
      }
      case "volume":
        if (!record) room.leave(id);
        if (previous && (!record || record.spec !== previous.spec)) capacityChanged = true;
        volumesToLookAt.add(id);
        return true;
      default:
        return false;
    }
  }

  /** What has no host and was not refused as it stands. */
  function freshOnes(): Candidate[] {
    const found: Candidate[] = [];
    somethingIsHeldBack = false;
    const heldBack = (record: Candidate["record"]): boolean => {
      const held = context.heldBack?.(record) ?? false;
      somethingIsHeldBack ||= held;
      return held;
    };
    for (const id of index.unplacedVolumes) {
      if (found.length >= batchSize) return found;
      const volume = cache.get("volume", id);
      if (volume && heldBack(volume)) continue;
      const request = volume && volumeRequest(volume);
      if (request && room.get(id)?.specRevision !== volume.specRevision) found.push({ record: volume, request });
    }
    for (const id of index.unplacedVms) {
      if (found.length >= batchSize) return withGangs(found, heldBack);
      const vm = cache.get("vm", id);
      if (vm && heldBack(vm)) continue;
      if (vm && room.get(id)?.specRevision !== vm.specRevision) found.push({ record: vm, request: snapshot.request(vm) });
    }
    return withGangs(found, heldBack);
  }

  /** With a machine of a gang come those of it that wait already: they are decided together. */
  function withGangs(found: Candidate[], heldBack: (record: Candidate["record"]) => boolean): Candidate[] {
    const gangs = new Set(found.flatMap(({ request }) => request.gang?.name ?? []));
    if (gangs.size === 0) return found;
    const known = new Set(found.map(({ record }) => record.id));
    for (const id of index.unplacedVms) {
      const vm = known.has(id) ? undefined : cache.get("vm", id);
      if (vm?.spec.placement.gang === undefined || heldBack(vm)) continue;
      const request = snapshot.request(vm);
      if (gangs.has(request.gang?.name ?? "")) found.push({ record: vm, request });
    }
    return found;
  }

  /** Whose room it waits for, where others make way or a host is being woken. */
  function reasonFor({ record, request }: Candidate, reason: string): string {
    return claimOf(record)?.reason ?? withWokenHost(request, reason);
  }

  function withWokenHost(request: PlacementRequest, reason: string): string {
    for (const id of index.waking) {
      const host = cache.get("host", id);
      const since = host?.status.power?.since;
      if (host === undefined || since === undefined || !fitsWhenWoken(request, id, snapshot)) continue;
      return `waits for host ${host.name}, which is being woken since ${new Date(since).toISOString()}; ${reason}`;
    }
    return reason;
  }

  function volumeHome(volume: RecordOf<"volume">) {
    const { source } = volume.spec;
    return planVolumeHome({
      volume,
      owner: cache.get("vm", index.vmOfVolume.get(volume.id) ?? ""),
      pool: cache.get("pool", volume.spec.pool),
      original: source && "volume" in source ? cache.get("volume", source.volume) : undefined,
      hostExists: volume.placement !== undefined && cache.get("host", volume.placement.host) !== undefined,
    });
  }
  /** @returns `undefined` where it is placed with its machine */
  function volumeRequest(volume: RecordOf<"volume">): PlacementRequest | undefined {
    const home = volumeHome(volume);
    if (home.do === "place") return home.request;
    if (home.do === "put") volumesToLookAt.add(volume.id);
    return undefined;
  }

  /** A disk that was attached to a placed machine, or whose host is gone. */
  async function followMachine(id: string): Promise<void> {
    const volume = cache.get("volume", id);
    const home = volume && volumeHome(volume);
    if (!volume || !home || home.do === "nothing") return;
    const key = partKey("volume", id, "placement");
    const entry = await store.get(key);
    let host = home.do === "put" ? home.host : undefined;
    let reason = home.do === "put" ? home.reason : "";
    if (home.do === "place") {
      const [decided] = planBatch([home.request], snapshot);
      snapshot.release(home.request);
      if (!decided || decided.decision.none) return;
      ({ host } = decided.decision);
      reason = decided.decision.reasons[0] ?? "";
    }
    if (host === undefined) return;
    const before = entry === null ? undefined : (JSON.parse(entry.value) as Placement); // written by this package alone
    const placement = newPlacement(host, (before?.epoch ?? 0) + 1, reason);
    const compare = [
      { key: partKey("volume", id, "spec"), modRevision: volume.specRevision },
      { key, modRevision: entry?.modRevision ?? 0 },
    ];
    const lost = await commitAll(context, [{ about: id, compare, then: [put(key, placement)] }]);
    if (lost.length > 0) throw new Overtaken(`volume ${volume.name} changed meanwhile`);
  }

  function newPlacement(host: string, epoch: number, reason: string, devices?: PlacedDevices, numa?: NumaPlacement): Placement {
    return {
      host,
      epoch,
      ...(numa === undefined ? {} : { numa }),
      incarnation: store.incarnation,
      ...placedDevices(devices),
      reason,
      at: clock.now(),
    };
  }

  /** @returns shapes that fit nowhere any more */
  async function place(candidates: readonly Candidate[]): Promise<Map<string, string>> {
    const decisions = planBatch(
      candidates.map((candidate) => candidate.request),
      snapshot,
    );
    const refused: Refusal[] = [];
    try {
      const chosen: Decision<Placed>[] = [];
      for (const [position, { decision }] of decisions.entries()) {
        const candidate = candidates[position];
        if (!candidate) continue;
        const { record } = candidate;
        if (decision.none) refused.push({ record, shape: shapeFor(candidate), reason: reasonFor(candidate, decision.reason) });
        else chosen.push(await placementOf(candidate, decision));
      }
      const overtaken = await commitAll(context, chosen);
      for (const { about } of overtaken) logger.debug({ ...about }, "a placement was overtaken by another change");
      // They are looked at again; after a pause where nothing else came of it.
      if (overtaken.length > 0 && overtaken.length === candidates.length) throw new Overtaken("all placements were overtaken");
    } finally {
      // The records say it now; what was not committed holds nothing.
      for (const { request, decision } of decisions) {
        if (decision.none) continue;
        snapshot.release(request);
        room.leave(request.vm);
      }
    }
    await tell(refused);
    return new Map(refused.map(({ shape, reason }) => [shape, reason]));
  }

  async function placementOf({ record }: Candidate, decision: Exclude<PlacementDecision, { none: true }>): Promise<Decision<Placed>> {
    const kind = record.kind as "vm" | "volume"; // candidates are these
    const reason = decision.reasons[0] ?? "";
    const compare = [
      { key: partKey(kind, record.id, "spec"), modRevision: record.specRevision },
      { key: partKey(kind, record.id, "placement"), modRevision: 0 },
    ];
    const then = [put(partKey(kind, record.id, "placement"), newPlacement(decision.host, 1, reason, decision.devices, decision.numa))];
    if ((record.status as RecordOf<"vm">["status"]).placement !== undefined) then.push({ delete: partKey(kind, record.id, "status/placement") }); // both kinds have it
    for (const disk of kind === "vm" ? (record as RecordOf<"vm">).spec.disks : []) {
      const volume = cache.get("volume", disk.volume ?? "");
      if (!volume || volume.placement?.host === decision.host) continue;
      const key = partKey("volume", volume.id, "placement");
      const entry = volume.placement === undefined ? null : await store.get(key);
      compare.push({ key: partKey("volume", volume.id, "spec"), modRevision: volume.specRevision }, { key, modRevision: entry?.modRevision ?? 0 });
      then.push(put(key, newPlacement(decision.host, (volume.placement?.epoch ?? 0) + 1, reason)));
    }
    return { about: { kind, id: record.id }, compare, then };
  }

  /** Notes who waits and, where the text changed (figures alone: not too often), writes why. @returns whether texts are left to be written */
  async function tell(refused: readonly Refusal[]): Promise<boolean> {
    const now = clock.now();
    const texts: Decision<Placed>[] = [];
    let left = false;
    for (const { record, shape, reason } of refused) {
      const kind = record.kind as "vm" | "volume"; // candidates are these
      const pending = (record.status as RecordOf<"vm">["status"]).placement?.pending; // both kinds have it
      const known = room.get(record.id);
      if (pending?.reason === reason && known?.specRevision === record.specRevision) continue;
      const onlyFigures = pending !== undefined && withoutFigures(pending.reason) === withoutFigures(reason);
      const early = onlyFigures && known !== undefined && now - known.toldAt < settings.pendingTextMs;
      const write = pending?.reason !== reason && !early && texts.length < textsPerLook;
      left ||= pending?.reason !== reason && !write;
      room.enter(record.id, { shape, specRevision: record.specRevision, toldAt: write ? now : (known?.toldAt ?? 0) });
      if (!write) continue;
      texts.push({
        about: { kind, id: record.id },
        compare: [
          { key: partKey(kind, record.id, "spec"), modRevision: record.specRevision },
          { key: partKey(kind, record.id, "placement"), modRevision: 0 },
        ],
        then: [put(partKey(kind, record.id, "status/placement"), { pending: { reason, since: pending?.since ?? now } })],
      });
    }
    try {
      await commitAll(context, texts);
    } catch (error) {
      // Who waits without a word that says why is decided on again.
      for (const { about } of texts) room.leave(about.id);
      throw error;
    }
    return left;
  }

  /** Capacity changed: one of each shape is tried; those of a shape that fits now are placed, the most important first, until it fits no more. */
  async function retry(signal: AbortSignal): Promise<number | undefined> {
    const refused = new Map<string, string>();
    let fitting: { candidate: Candidate; shape: string; priority: number }[] = [];
    for (const [shape, ids] of [...room.shapes()]) {
      if (isGang(shape)) {
        const members = [...ids].flatMap((id) => candidateOf(id) ?? []);
        const decided = planBatch(
          members.map(({ request }) => request),
          snapshot,
        );
        for (const { request } of decided) snapshot.release(request);
        const [first] = decided;
        if (first?.decision.none) refused.set(shape, first.decision.reason);
        else {
          const priority = Math.max(...members.map(({ request }) => request.priority));
          fitting.push(...members.map((candidate) => ({ candidate, shape, priority })));
        }
        continue;
      }
      let asked = false;
      for (const id of [...ids]) {
        const candidate = candidateOf(id);
        if (!candidate) continue;
        if (!asked) {
          asked = true;
          const [decided] = planBatch([candidate.request], snapshot);
          snapshot.release(candidate.request);
          if (decided?.decision.none) refused.set(shape, reasonFor(candidate, decided.decision.reason));
        }
        if (refused.has(shape)) break;
        fitting.push({ candidate, shape, priority: candidate.request.priority });
      }
    }
    fitting.sort((a, b) => b.priority - a.priority || compareText(a.shape, b.shape) || compareText(a.candidate.request.vm, b.candidate.request.vm));
    while (fitting.length > 0 && !signal.aborted) {
      let size = Math.min(batchSize, fitting.length);
      // A gang is not cut in two.
      while (isGang(fitting[size]?.shape) && fitting[size]?.shape === fitting[size - 1]?.shape) size += 1;
      const now = fitting.slice(0, size);
      for (const [shape, reason] of await place(now.map(({ candidate }) => candidate))) refused.set(shape, reason);
      fitting = fitting.slice(size).filter(({ shape }) => !refused.has(shape));
    }
    const left = await tell([...stillWaiting(refused)]);
    if (left) capacityChanged = true;
    return left ? settings.pendingTextMs : capacityChanged ? settings.placementBatchMs : undefined;
  }

  function* stillWaiting(refused: ReadonlyMap<string, string>): Generator<Refusal> {
    for (const [shape, reason] of refused)
      for (const id of room.alike(shape)) {
        const record = index.unplacedVms.has(id) ? cache.get("vm", id) : index.unplacedVolumes.has(id) ? cache.get("volume", id) : undefined;
        if (record) yield { record, shape, reason };
      }
  }

  function candidateOf(id: string): Candidate | undefined {
    const vm = index.unplacedVms.has(id) ? cache.get("vm", id) : undefined;
    if (vm) return { record: vm, request: snapshot.request(vm) };
    const volume = index.unplacedVolumes.has(id) ? cache.get("volume", id) : undefined;
    const request = volume && volumeRequest(volume);
    if (volume && request) return { record: volume, request };
    room.leave(id);
    return undefined;
  }
}

const claimOf = (record: Candidate["record"]) => (record.kind === "vm" ? (record as RecordOf<"vm">).status.claim : undefined); // the kind says so

/** Machines of a gang are tried together, whatever each asks for. */
const gangShape = "gang ";
const isGang = (shape: string | undefined): boolean => shape?.startsWith(gangShape) === true;
const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Whoever others give way for waits for them alone. */
const shapeFor = ({ record, request }: Candidate): string =>
  request.gang !== undefined ? `${gangShape}${request.gang.name}` : ((claimOf(record) === undefined ? shapeOf(request) : null) ?? record.id);

const withoutFigures = (text: string): string => text.replaceAll(/\([^)]*\)/g, "");
