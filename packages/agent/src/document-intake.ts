/**
 * What the server sends about this host's things: kept on disk first, then handed to whoever looks after the thing. Called by the server
 * link, one message after the other. Decides nothing about machines: `plan-machine.ts` does.
 */
import type { AgentDocument, ServerMessage } from "@sheaf/contract";
import type { Clock, Logger } from "@sheaf/base";
import type { Kind, RecordOf } from "@sheaf/model";
import { ownCpus } from "./cell-binding.ts";
import type { KeptState } from "./kept-state.ts";
import { newMachineMemory } from "./machine-memory.ts";

export interface DocumentIntakeOptions {
  readonly hostId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly kept: KeptState;
  /** Look at this thing soon. */
  readonly touch: (kind: Kind, id: string) => void;
  /** A volume or image is this host's no more: its owner notes it and acts under its key. */
  readonly released: (document: Extract<ServerMessage, { type: "remove" }>) => Promise<void>;
  /** It is this host's again, perhaps before that was done. */
  readonly returned: (id: string) => Promise<void>;
}

type Remove = Extract<ServerMessage, { type: "remove" }>;

export class DocumentIntake {
  readonly #options: DocumentIntakeOptions;
  /** Machines that the server named as this host's in its last sync, or since. */
  #spokenOf = new Set<string>();
  /** The server has welcomed this agent, and its sync is not through yet. */
  #expected = false;
  /** Counts connections: a sync that is still being written when the next one begins says nothing any more. */
  #connection = 0;
  readonly #waiting = new Map<string, ((vm: RecordOf<"vm">) => void)[]>();
  #synced = false;
  /** By kind and id, since the last sync. What the disk remembers may be of another life of the store, whose revisions say nothing here. */
  readonly #revisions = new Map<string, number>();

  constructor(options: DocumentIntakeOptions) {
    this.#options = options;
  }

  /** A sync was heard since this agent's start. */
  get synced(): boolean {
    return this.#synced;
  }

  spokenOf(machineId: string): boolean {
    return this.#spokenOf.has(machineId);
  }

  /** A welcome was heard: what is on the disk may be older than what the server is about to say. */
  expectSync(): void {
    this.#connection += 1;
    this.#expected = true;
  }

  /** The connection is gone: no sync will come of that welcome. @returns whether one was still to come */
  abandonSync(): boolean {
    const expected = this.#expected;
    this.#connection += 1;
    this.#expected = false;
    return expected;
  }

  /**
   * Whether what is kept of a machine may be acted upon: it is what the server says now, or the server cannot be heard. A machine that was
   * moved while this host was away is on its disk until the removal is through, and must not start meanwhile.
   */
  isCurrent(machineId: string): boolean {
    return !this.#expected && (!this.#synced || this.#spokenOf.has(machineId));
  }

  /** @param taken called when all of it is on the disk, before anything is done with it */
  async sync(documents: readonly AgentDocument[], taken: () => Promise<void>): Promise<void> {
    const { kept, touch } = this.#options;
    const connection = this.#connection;
    const named = new Set(documents.map(({ kind, id }) => `${kind}/${id}`));
    // Machines that are missing here are named in `hello`, and answered by `remove`; the rest is simply not this host's any more.
    for (const kind of ["volume", "image", "network", "pool", "task", "host", "cluster"] as const) {
      for (const { id } of kept.documents(kind)) {
        if (named.has(`${kind}/${id}`)) continue;
        await kept.removeDocument(kind, id);
        if (kind === "task") await kept.removeTask(id);
        touch(kind, id);
      }
    }
    this.#revisions.clear();
    for (const document of documents) await this.#take(document);
    this.#spokenOf = new Set(documents.flatMap(({ kind, id }) => (kind === "vm" ? [id] : [])));
    if (connection !== this.#connection) return;
    await taken();
    this.#expected = false;
    this.#synced = true;
    for (const { id } of kept.documents("vm")) touch("vm", id);
    for (const id of kept.machineIds()) touch("vm", id);
  }

  async upsert(document: AgentDocument): Promise<void> {
    const { kind, id, revision } = document;
    if ((this.#revisions.get(`${kind}/${id}`) ?? 0) > revision)
      return this.#options.logger.debug({ kind, id, revision }, "an older document was skipped");
    await this.#take(document);
  }

  async #take(document: AgentDocument): Promise<void> {
    const { kept, touch } = this.#options;
    this.#revisions.set(`${document.kind}/${document.id}`, document.revision);
    if (document.kind === "volume" || document.kind === "image") await this.#options.returned(document.id);
    const before = document.kind === "vm" ? kept.document("vm", document.id) : undefined;
    await kept.putDocument(document);
    if (document.kind === "vm") this.#cpusChanged(before, document);
    if (document.kind === "vm") await this.#machine(document);
    touch(document.kind, document.id);
    this.#touchUsers(document);
  }

  async remove(message: Remove): Promise<void> {
    const { kept, touch, released } = this.#options;
    const { kind, id } = message;
    if (kind === "vm") await this.#letGo(message);
    else if (kind === "volume" || kind === "image") await released(message);
    else {
      await kept.removeDocument(kind, id);
      if (kind === "task") await kept.removeTask(id);
    }
    touch(kind, id);
  }

  /** The machine's document, as soon as it is there. */
  machine(id: string, signal: AbortSignal): Promise<RecordOf<"vm">> {
    const known = this.#options.kept.document("vm", id);
    if (known) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(id) ?? [];
      waiting.push(resolve);
      this.#waiting.set(id, waiting);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  async #machine(vm: RecordOf<"vm">): Promise<void> {
    const { kept } = this.#options;
    this.#spokenOf.add(vm.id);
    // It may come back before its removal was through.
    await kept.putRemoval(vm.id, undefined);
    for (const resolve of this.#waiting.get(vm.id) ?? []) resolve(vm);
    this.#waiting.delete(vm.id);
  }

  async #letGo({ id, gone, placement }: Remove): Promise<void> {
    const { kept, clock } = this.#options;
    const incarnation = kept.welcome?.incarnation;
    if (incarnation === undefined) return;
    if (!kept.machine(id)) await kept.putMachine(id, newMachineMemory(clock.now()));
    await kept.putRemoval(id, { gone, incarnation, ...(placement ? { placement } : {}) });
    const before = kept.document("vm", id);
    await kept.removeDocument("vm", id);
    this.#cpusChanged(before, undefined);
  }

  /** CPUs that are one machine's own are left by all others. */
  #cpusChanged(before: RecordOf<"vm"> | undefined, now: RecordOf<"vm"> | undefined): void {
    const { kept, touch, hostId } = this.#options;
    const own = (vm: RecordOf<"vm"> | undefined): string => (vm === undefined ? "" : ownCpus(vm, hostId).join());
    if (own(before) !== own(now)) for (const { id } of kept.documents("vm")) touch("vm", id);
  }

  /** Things that others are made of. */
  #touchUsers(document: AgentDocument): void {
    const { kept, touch } = this.#options;
    switch (document.kind) {
      case "image":
      case "pool":
        for (const volume of kept.documents("volume")) touch("volume", volume.id);
        for (const vm of kept.documents("vm")) if (vm.spec.cdroms.length > 0) touch("vm", vm.id);
        return;
      case "network":
        for (const vm of kept.documents("vm")) if (vm.spec.nics.some((nic) => nic.network === document.id)) touch("vm", vm.id);
        return;
      case "host":
      case "cluster":
        for (const vm of kept.documents("vm")) touch("vm", vm.id);
        return;
      default:
    }
  }
}
