/**
 * What the agent keeps on its disk: the documents it was given, what it remembers of each machine, which tasks it has done, and the
 * last welcome. Written before anything is done with it, so that an agent that is killed at any moment finds everything again.
 * A file that cannot be read is set aside, never guessed at; the next sync from the server brings its content anew.
 */
import type { AgentDocument } from "@sheaf/contract";
import { idPattern, type Kind, type RecordOf } from "@sheaf/model";
import type { Logger } from "@sheaf/base";
import type { Files } from "./ports.ts";
import { type MachineMemory, readMachineMemory } from "./machine-memory.ts";

/** The last `welcome` and the boot of the host in which it was heard. */
export interface Welcome {
  readonly incarnation: string;
  readonly bootId: string;
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
  readonly #files: Files;
  readonly #logger: Logger;
  readonly #directory: string;
  readonly #documents = new Map<string, AgentDocument>();
  readonly #written = new Map<string, string>();
  /** By file: the end of what is being done to it. */
  readonly #changing = new Map<string, Promise<void>>();
  readonly #machines = new Map<string, MachineMemory>();
  readonly #tasks = new Map<string, TaskNote>();
  readonly #notes = new Map<string, unknown>();
  #welcome: Welcome | null = null;
  #setAside = 0;

  private constructor(options: KeptStateOptions) {
    this.#files = options.files;
    this.#logger = options.logger;
    this.#directory = options.directory;
  }

  /** Reads everything back. */
  static async open(options: KeptStateOptions): Promise<KeptState> {
    const kept = new KeptState(options);
    for (const folder of ["documents", "machines", "tasks", "notes"]) await options.files.makeDirectory(`${options.directory}/${folder}`);
    await kept.#read("documents", (value) => {
      const document = asDocument(value);
      if (document) kept.#documents.set(documentKey(document.kind, document.id), document);
      return document !== null;
    });
    await kept.#read("machines", (value, name) => {
      const memory = readMachineMemory(value);
      if (memory) kept.#machines.set(name, memory);
      return memory !== null;
    });
    await kept.#read("tasks", (value) => {
      const note = asTaskNote(value);
      if (note) kept.#tasks.set(note.id, note);
      return note !== null;
    });
    await kept.#read("notes", (value, name) => {
      kept.#notes.set(name, value);
      return true;
    });
    kept.#welcome = await kept.#readWelcome();
    return kept;
  }

  get welcome(): Welcome | null {
    return this.#welcome;
  }

  /** Files that could not be read when the agent started. */
  get setAside(): number {
    return this.#setAside;
  }

  async setWelcome(welcome: Welcome): Promise<void> {
    await this.#write("welcome.json", welcome);
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
    await this.#write(`documents/${key}.json`, document);
    this.#documents.set(key, document);
  }

  async removeDocument(kind: Kind, id: string): Promise<void> {
    const key = documentKey(kind, id);
    this.#documents.delete(key);
    await this.#remove(`documents/${key}.json`);
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
    await this.#write(`machines/${id}.json`, kept);
    this.#machines.set(id, kept);
  }

  /** @param removal `undefined`: the machine is this host's again */
  async putRemoval(id: string, removal: MachineMemory["removal"]): Promise<void> {
    if (removal) return this.putNote(removalNote(id), removal);
    if (this.note(removalNote(id)) !== undefined) await this.removeNote(removalNote(id));
    // An earlier version kept it with the rest.
    const memory = this.#machines.get(id);
    if (memory?.removal) await this.putMachine(id, memory);
  }

  async removeMachine(id: string): Promise<void> {
    this.#machines.delete(id);
    await this.#remove(`machines/${id}.json`);
    await this.putRemoval(id, undefined);
  }

  task(id: string): TaskNote | undefined {
    return this.#tasks.get(id);
  }

  tasks(): TaskNote[] {
    return [...this.#tasks.values()];
  }

  async putTask(note: TaskNote): Promise<void> {
    await this.#write(`tasks/${note.id}.json`, note);
    this.#tasks.set(note.id, note);
  }

  async removeTask(id: string): Promise<void> {
    this.#tasks.delete(id);
    await this.#remove(`tasks/${id}.json`);
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
    await this.#write(`notes/${name}.json`, value);
    this.#notes.set(name, value);
  }

  async removeNote(name: string): Promise<void> {
    this.#notes.delete(name);
    await this.#remove(`notes/${name}.json`);
  }

  async #readWelcome(): Promise<Welcome | null> {
    const text = await this.#files.readText(`${this.#directory}/welcome.json`);
    if (text === null) return null;
    const value = parse(text);
    if (isObject(value) && typeof value["incarnation"] === "string" && typeof value["bootId"] === "string") {
      this.#written.set("welcome.json", text);
      return { incarnation: value["incarnation"], bootId: value["bootId"] };
    }
    await this.#putAside("welcome.json");
    return null;
  }

  async #read(folder: string, take: (value: unknown, name: string) => boolean): Promise<void> {
    for (const file of await this.#files.list(`${this.#directory}/${folder}`)) {
      const name = `${folder}/${file}`;
      // Left by a write that was cut off before its rename.
      if (!file.endsWith(".json")) {
        await this.#files.remove(`${this.#directory}/${name}`);
        continue;
      }
      const text = await this.#files.readText(`${this.#directory}/${name}`);
      if (text === null) continue;
      const value = parse(text);
      if (value !== undefined && take(value, file.slice(0, -".json".length))) this.#written.set(name, text);
      else await this.#putAside(name);
    }
  }

  async #putAside(name: string): Promise<void> {
    this.#setAside += 1;
    const aside = `${this.#directory}/set-aside`;
    await this.#files.makeDirectory(aside);
    await this.#files.rename(`${this.#directory}/${name}`, `${aside}/${name.replaceAll("/", "-")}`);
    this.#logger.error(
      { file: name, movedTo: aside },
      "a file of the agent cannot be read and was set aside; the server's next sync brings its content anew",
    );
  }

  #write(name: string, value: unknown): Promise<void> {
    const text = JSON.stringify(value);
    return this.#inTurn(name, async () => {
      if (this.#written.get(name) === text) return;
      await this.#files.writeAtomic(`${this.#directory}/${name}`, text);
      this.#written.set(name, text);
    });
  }

  #remove(name: string): Promise<void> {
    return this.#inTurn(name, async () => {
      this.#written.delete(name);
      await this.#files.remove(`${this.#directory}/${name}`);
    });
  }

  /** One file's changes follow each other: two at once would write into each other's half-made file. */
  async #inTurn(name: string, change: () => Promise<void>): Promise<void> {
    const before = this.#changing.get(name);
    const now = before === undefined ? change() : before.then(change);
    const ended = now.catch(() => {});
    this.#changing.set(name, ended);
    try {
      await now;
    } finally {
      if (this.#changing.get(name) === ended) this.#changing.delete(name);
    }
  }
}

const removalNote = (machineId: string): string => `removal-${machineId}`;
const documentKey = (kind: Kind, id: string): string => `${kind}-${id}`;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
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
