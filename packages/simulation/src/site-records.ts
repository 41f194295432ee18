/**
 * Writes the records of a whole site into its store at once, as API, controllers and agents would have left them: for sites that are too
 * large to be made machine by machine before anything can be shown or measured. Called by the demonstration and by benchmarks on a store
 * that nobody else uses yet; never on a site of somebody's.
 */
import { type Clock, type Random, uuidv7 } from "@sheaf/base";
import { addressKey, type Kind, macKey, nameKey, numberKey, partKey, VmSpec, VolumeSpec } from "@sheaf/model";
import type { Operation, Store } from "@sheaf/store";

/** Of one transaction; the store takes no more. */
const operationsAtOnce = 100;
const transactionsUnderWay = 32;

export interface MachineToWrite {
  readonly name: string;
  /** Its short number; from 100 on. */
  readonly number: number;
  readonly host: string;
  readonly pool: string;
  readonly diskBytes: number;
  /** What its disk is a linked clone of. */
  readonly image?: string;
  readonly nic?: { readonly network: string; readonly mac: string; readonly address: string };
  readonly labels?: Readonly<Record<string, string>>;
  /** Processors, memory and what else is said of it; disks and network cards come from above. */
  readonly spec: Omit<Parameters<typeof VmSpec.parse>[0] & object, "disks" | "nics">;
}

export class SiteRecords {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #random: Random;
  /** The project and the cluster `default`. */
  readonly project: string;
  readonly cluster: string;
  #operations: Operation[] = [];
  #writing: Promise<unknown>[] = [];

  private constructor(store: Store, clock: Clock, random: Random, found: { readonly project: string; readonly cluster: string }) {
    this.#store = store;
    this.#clock = clock;
    this.#random = random;
    this.project = found.project;
    this.cluster = found.cluster;
  }

  /** @throws Error where the store has not what every site has */
  static async open(context: { readonly store: Store; readonly clock: Clock; readonly random: Random }): Promise<SiteRecords> {
    const { store, clock, random } = context;
    const [project, cluster] = await Promise.all((["project", "cluster"] as const).map((kind) => store.get(nameKey(kind, "-", "default"))));
    if (!project || !cluster) throw new Error("the store has no default project and cluster yet");
    return new SiteRecords(store, clock, random, { project: project.value, cluster: cluster.value });
  }

  newId(): string {
    return uuidv7(this.#clock.now(), this.#random);
  }

  /** A record's head, its name and its number. @param more fields of the head; with `project` the name is the project's */
  async head(
    kind: Kind,
    id: string,
    name: string,
    spec: unknown,
    more: { readonly project?: string; readonly number?: number; readonly [field: string]: unknown } = {},
  ): Promise<void> {
    const value = { kind, id, name, labels: {}, generation: 1, createdAt: this.#clock.now(), createdBy: "admin", finalizers: [], ...more, spec };
    await this.#add([put(partKey(kind, id, "spec"), value), put(nameKey(kind, more.project ?? "-", name), id)]);
    if (more.number !== undefined && (kind === "vm" || kind === "image")) await this.#add([put(numberKey(kind, more.number), id)]);
  }

  async part(kind: Kind, id: string, part: string, value: unknown): Promise<void> {
    await this.#add([put(partKey(kind, id, part), value)]);
  }

  /** A machine with its disk, both placed on its host. @returns their ids */
  async machine(wanted: MachineToWrite): Promise<{ readonly id: string; readonly volume: string; readonly epoch: number }> {
    const { project } = this;
    const [id, volume] = [this.newId(), this.newId()];
    const { name, number, image, nic } = wanted;
    const placement = { host: wanted.host, epoch: 1, incarnation: this.#store.incarnation, at: this.#clock.now(), reason: "where it was made" };
    const spec = VmSpec.parse({
      ...wanted.spec,
      disks: [{ name: "root", volume }],
      nics: nic ? [{ name: "eth0", network: nic.network, mac: nic.mac, addresses: [nic.address] }] : [],
    });
    const source = image === undefined ? {} : { source: { image } };
    await this.head("vm", id, name, spec, { project, number, labels: wanted.labels ?? {}, finalizers: ["domain", "volumes"] });
    await this.part("vm", id, "placement", placement);
    if (nic) await this.#add([put(macKey(nic.mac), id), put(addressKey(nic.network, nic.address), id)]);
    await this.head("volume", volume, `${name}-root`, VolumeSpec.parse({ pool: wanted.pool, sizeBytes: wanted.diskBytes, ...source }), {
      project,
      finalizers: ["file"],
    });
    await this.part("volume", volume, "placement", placement);
    return { id, volume, epoch: placement.epoch };
  }

  /** Resolves when everything is in the store. */
  async end(): Promise<void> {
    this.#flush();
    await Promise.all(this.#writing.splice(0));
  }

  async #add(operations: readonly Operation[]): Promise<void> {
    if (this.#operations.length + operations.length > operationsAtOnce) this.#flush();
    this.#operations.push(...operations);
    if (this.#writing.length >= transactionsUnderWay) await Promise.all(this.#writing.splice(0));
  }

  #flush(): void {
    if (this.#operations.length > 0) this.#writing.push(this.#store.transact({ compare: [], then: this.#operations }));
    this.#operations = [];
  }
}

const put = (key: string, value: unknown): Operation => ({ put: key, value: typeof value === "string" ? value : JSON.stringify(value) });
