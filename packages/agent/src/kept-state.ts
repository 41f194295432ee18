/**
 * What the agent keeps on its disk: the documents it was given, what it remembers of each machine, which tasks it has done, and the
 * last welcome. Written before anything is done with it, so that an agent that is killed at any moment finds everything again.
 * What cannot be read is set aside, never guessed at; the next sync from the server brings it anew.
 */
import type { AgentDocument } from "@sheaf/contract";
import { idPattern, type Kind, type RecordOf } from "@sheaf/model";
import type { Logger } from "@sheaf/base";
import { Journal } from "./journal.ts";
import type { Files } from "./ports.ts";
import { type MachineMemory, readMachineMemory } from "./machine-memory.ts";

/** The last `welcome` and the boot of the host in which it was heard. */
export interface Welcome {
  readonly incarnation: string;
  readonly bootId: string;
  /** The store came from a backup, and other hosts were still to be heard. */
  readonly restoring?: true;
}

/** A task of this host that was begun: it is never begun again. `result` is what was reported at its end. */
export interface TaskNote {
  readonly id: string;
  readonly begunAt: number;
  readonly result?: unknown;
}

export interface KeptStateOptions {
  readonly files: Files;
  readonly logger: Logger;
  readonly directory: string;
}

export class KeptState {
  readonly #journal: Journal;
  readonly #documents = new Map<string, AgentDocument>();
  readonly #machines = new Map<string, MachineMemory>();
  readonly #tasks = new Map<string, TaskNote>();
  readonly #notes = new Map<string, unknown>();
  #welcome: Welcome | null = null;
  #setAside = 0;

  private constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Reads everything back. */
  static async open(options: KeptStateOptions): Promise<KeptState> {
    const { journal, damaged } = await Journal.open(options);
    const kept = new KeptState(journal);
    kept.#setAside = damaged;
    for (const [name, json] of [...journal.entries()]) {
      if (!kept.#take(name, JSON.parse(json))) await kept.#putAside(options, name, json);
    }
    return kept;
  }

  get welcome(): Welcome | null {
    return this.#welcome;
  }

  /** What could not be read when the agent started. */
  get setAside(): number {
    return this.#setAside;
  }

  async setWelcome(welcome: Welcome): Promise<void> {
    await this.#journal.put("welcome", welcome);
    this.#welcome = welcome;
  }

  document<K extends Kind>(kind: K, id: string): RecordOf<K> | undefined {
    // Documents are kept under the kind they carry.
    return this.#documents.get(documentKey(kind, id)) as RecordOf<K> | undefined;
  }

  documents<K extends Kind>(kind: K): RecordOf<K>[] {
    const found: RecordOf<K>[] = [];
    // As above.
    for (const document of this.#documents.values()) if (document.kind === kind) found.push(document as RecordOf<K>);
    return found;
  }

  async putDocument(document: AgentDocument): Promise<void> {
    const key = documentKey(document.kind, document.id);
    await this.#journal.put(`documents/${key}`, document);
    this.#documents.set(key, document);
  }

  async removeDocument(kind: Kind, id: string): Promise<void> {
    const key = documentKey(kind, id);
    this.#documents.delete(key);
    await this.#journal.remove(`documents/${key}`);
  }

  machine(id: string): MachineMemory | undefined {
    const memory = this.#machines.get(id);
    const removal = this.#notes.get(removalNote(id)) as MachineMemory["removal"]; // written by putRemoval alone
    return memory && removal ? { ...memory, removal } : memory;
  }

  machineIds(): string[] {
    return [...this.#machines.keys()];
  }

  /** Its `removal` stays as it is: the server tells that while others are at work on the rest. */
  async putMachine(id: string, memory: MachineMemory): Promise<void> {
    const { removal: _, ...kept } = memory;
    await this.#journal.put(`machines/${id}`, kept);
    this.#machines.set(id, kept);
  }

  /** @param removal `undefined`: the machine is this host's again */
  async putRemoval(id: string, removal: MachineMemory["removal"]): Promise<void> {
    if (removal) return this.putNote(removalNote(id), removal);
    await this.removeNote(removalNote(id));
  }

  async removeMachine(id: string): Promise<void> {
    this.#machines.delete(id);
    await this.#journal.remove(`machines/${id}`);
    await this.putRemoval(id, undefined);
  }

  task(id: string): TaskNote | undefined {
    return this.#tasks.get(id);
  }

  tasks(): TaskNote[] {
    return [...this.#tasks.values()];
  }

  async putTask(note: TaskNote): Promise<void> {
    await this.#journal.put(`tasks/${note.id}`, note);
    this.#tasks.set(note.id, note);
  }

  async removeTask(id: string): Promise<void> {
    this.#tasks.delete(id);
    await this.#journal.remove(`tasks/${id}`);
  }

  /** A small fact of another part of the agent, read with its own schema. @param name letters, digits and hyphens */
  note(name: string): unknown {
    return this.#notes.get(name);
  }

  /** Those whose names begin so. */
  notes(prefix: string): unknown[] {
    return [...this.#notes].flatMap(([name, value]) => (name.startsWith(prefix) ? [value] : []));
  }

  async putNote(name: string, value: unknown): Promise<void> {
    await this.#journal.put(`notes/${name}`, value);
    this.#notes.set(name, value);
  }

  async removeNote(name: string): Promise<void> {
    this.#notes.delete(name);
    await this.#journal.remove(`notes/${name}`);
  }

  /** @returns false where it is not what was kept under such a name */
  #take(name: string, value: unknown): boolean {
    const [folder = "", key = ""] = name.split("/");
    switch (folder) {
      case "welcome":
        this.#welcome = asWelcome(value);
        return this.#welcome !== null;
      case "documents": {
        const document = asDocument(value);
        if (document) this.#documents.set(documentKey(document.kind, document.id), document);
        return document !== null;
      }
      case "machines": {
        const memory = readMachineMemory(value);
        if (memory) this.#machines.set(key, memory);
        return memory !== null;
      }
      case "tasks": {
        const note = asTaskNote(value);
        if (note) this.#tasks.set(note.id, note);
        return note !== null;
      }
      case "notes":
        this.#notes.set(key, value);
        return true;
      default:
        return false;
    }
  }

  async #putAside({ files, logger, directory }: KeptStateOptions, name: string, json: string): Promise<void> {
    this.#setAside += 1;
    const aside = `${directory}/set-aside`;
    await files.makeDirectory(aside);
    await files.writeAtomic(`${aside}/${name.replaceAll("/", "-")}.json`, json);
    await this.#journal.remove(name);
    logger.error({ name, movedTo: aside }, "a thing that the agent keeps cannot be read and was set aside; the server's next sync brings it anew");
  }
}

const removalNote = (machineId: string): string => `removal-${machineId}`;
const documentKey = (kind: Kind, id: string): string => `${kind}-${id}`;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function asWelcome(value: unknown): Welcome | null {
  if (!isObject(value) || typeof value["incarnation"] !== "string" || typeof value["bootId"] !== "string") return null;
  return { incarnation: value["incarnation"], bootId: value["bootId"], ...(value["restoring"] === true ? { restoring: true } : {}) };
}

/** Enough to know what it is. Fields are not checked again: the server wrote it, and a newer server's are kept. */
function asDocument(value: unknown): AgentDocument | null {
  if (!isObject(value) || typeof value["kind"] !== "string" || typeof value["id"] !== "string" || !idPattern.test(value["id"])) return null;
  if (!isObject(value["spec"]) || typeof value["generation"] !== "number" || !isObject(value["status"])) return null;
  return value as unknown as AgentDocument; // written by putDocument alone, under this shape
}

function asTaskNote(value: unknown): TaskNote | null {
  if (!isObject(value) || typeof value["id"] !== "string" || typeof value["begunAt"] !== "number") return null;
  return { id: value["id"], begunAt: value["begunAt"], ...("result" in value ? { result: value["result"] } : {}) };
}
