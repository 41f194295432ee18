/**
 * What is special about each kind when its documents are made, changed and deleted: references become ids, what must be unique is claimed,
 * what makes no sense is refused. The one table that `documents.ts` works by; a kind without an entry does not compile.
 */
import type { Kind, QuotaUsage, RecordOf, SpecOf, SpecPart, TaskSpec } from "@sheaf/model";
import { clusterRules, hostRules, poolRules } from "./site-rules.ts";
import { projectRules, roleRules, taskRules, tokenRules, userRules } from "./identity-rules.ts";
import { imageRules } from "./image-rules.ts";
import { networkRules } from "./network-rules.ts";
import type { Work } from "./record-services.ts";
import { vmRules } from "./vm-rules.ts";
import { volumeRules } from "./volume-rules.ts";

type TaskVerb = TaskSpec["verb"];

/** What a rule found: the spec to store, and what goes with it. */
export interface Completed<K extends Kind> {
  readonly spec: SpecOf<K>;
  /** Usage beyond the record's own: a machine's new volumes, a volume's growth through its machine. */
  readonly alsoUses?: QuotaUsage;
}

export interface KindRules<K extends Kind> {
  readonly finalizers: readonly string[];
  /** Verb of the receipt; absent: the change takes effect at once and has none. */
  readonly verbs: { readonly create?: TaskVerb; readonly change?: TaskVerb; readonly delete?: TaskVerb };
  /** Other records refer to it, so its deletion looks twice. */
  readonly referred: boolean;
  /** Other records hold parts of it: the deletion controller removes it with them, never this request. */
  readonly leavesTraces?: true;
  /** Spec as a client may send it, from the stored one: what a merge patch is applied to. */
  readonly editable?: (spec: SpecOf<K>) => unknown;
  /** @param given `spec` as it came, before defaults */
  create(work: Work, spec: SpecOf<K>, given: unknown): Completed<K>;
  change(work: Work, before: RecordOf<K>, spec: SpecOf<K>): Completed<K>;
  /** Why it cannot be deleted now, with what would allow it; `null`: it can. References are looked at by the caller. */
  refuseDelete?(work: Work, record: RecordOf<K>): string | null;
  /** Keys that go in the deletion's own transaction, beyond the record's. */
  cleanUp?(work: Work, record: RecordOf<K>): void;
  /** The name may be changed. */
  refuseRename?(record: RecordOf<K>): string | null;
}

export type StoredPart<K extends Kind> = SpecPart<SpecOf<K>>;

export const kindRules: { readonly [K in Kind]: KindRules<K> } = {
  host: hostRules,
  cluster: clusterRules,
  pool: poolRules,
  volume: volumeRules,
  image: imageRules,
  network: networkRules,
  vm: vmRules,
  task: taskRules,
  project: projectRules,
  user: userRules,
  role: roleRules,
  token: tokenRules,
};
