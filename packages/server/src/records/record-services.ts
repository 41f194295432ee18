/** What the record rules work with, made once for a server. */
import type { ServerContext } from "../context.ts";
import type { Caller } from "../identity/rights.ts";
import type { Addresses } from "./addresses.ts";
import type { AdviceShelf } from "./advice-shelf.ts";
import type { Draft } from "./draft.ts";
import type { Numbers } from "./numbers.ts";
import type { Presenter } from "./present.ts";
import type { Quotas } from "./quota.ts";
import type { Asker, RecordWriter } from "./record-writer.ts";
import type { References } from "./references.ts";
import type { SiteIndex } from "./site-index.ts";

export interface RecordServices {
  readonly context: ServerContext;
  readonly index: SiteIndex;
  readonly references: References;
  readonly addresses: Addresses;
  readonly numbers: Numbers;
  readonly quotas: Quotas;
  readonly writer: RecordWriter;
  readonly presenter: Presenter;
  /** A new UUID of version 7. */
  readonly newId: () => string;
  /** Given on request lately. */
  readonly advice: AdviceShelf;
}

/** One change request: who, and how. */
export interface ChangeRequest {
  readonly caller: Caller;
  readonly asker: Asker;
  /** Spec revision that must still be current; `*`: any. */
  readonly ifMatch?: number | "*";
  readonly dryRun: boolean;
}

/** What a kind's rules see while a draft is made. */
export interface Work {
  readonly services: RecordServices;
  readonly request: ChangeRequest;
  readonly draft: Draft;
  readonly id: string;
  readonly name: string;
  /** Id of the project; empty for kinds above projects. */
  readonly projectId: string;
  readonly now: number;
}
