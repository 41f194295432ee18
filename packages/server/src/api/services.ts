/** Everything the routes work with, made and started once for a server. */
import { uuidv7 } from "@sheaf/base";
import { AuditKeeper } from "../audit/audit-keeper.ts";
import type { AuditTrail } from "../audit/audit-trail.ts";
import { RefusedAttempts } from "../audit/refused-attempts.ts";
import type { ServerContext } from "../context.ts";
import { LoginThrottle } from "../identity/login-throttle.ts";
import { PasswordGate } from "../identity/passwords.ts";
import { Sessions } from "../identity/sessions.ts";
import { Addresses } from "../records/addresses.ts";
import { AdviceShelf } from "../records/advice-shelf.ts";
import { Documents } from "../records/documents.ts";
import { Numbers } from "../records/numbers.ts";
import { Presenter } from "../records/present.ts";
import { Quotas } from "../records/quota.ts";
import { RecordLists } from "../records/record-list.ts";
import { RecordWriter } from "../records/record-writer.ts";
import type { RecordServices } from "../records/record-services.ts";
import { References } from "../records/references.ts";
import { UseSurvey } from "../right-sizing/use-survey.ts";
import { SiteIndex } from "../records/site-index.ts";
import { VmVerbs } from "../records/vm-verbs.ts";
import { Capacity } from "./capacity.ts";
import { Metrics } from "./metrics.ts";
import { WatchHub } from "./watch-hub.ts";

export interface Services {
  readonly context: ServerContext;
  readonly records: RecordServices;
  readonly lists: RecordLists;
  readonly documents: Documents;
  readonly vmVerbs: VmVerbs;
  readonly sessions: Sessions;
  readonly passwords: PasswordGate;
  readonly throttle: LoginThrottle;
  readonly audit: AuditKeeper;
  readonly trail: AuditTrail;
  readonly refused: RefusedAttempts;
  readonly hub: WatchHub;
  readonly capacity: Capacity;
  readonly metrics: Metrics;
  /** Absent where no figures are kept. */
  readonly survey?: UseSurvey;
}

/** The context's cache must be loaded. */
export async function startServices(context: ServerContext): Promise<Services> {
  const audit = new AuditKeeper(context);
  const { trail } = audit;
  const index = new SiteIndex(context.cache);
  const presenter = new Presenter(context);
  const writer = new RecordWriter(context, trail);
  const newId = (): string => uuidv7(context.clock.now(), context.random);
  const records: RecordServices = {
    context,
    index,
    references: new References(context.cache, index),
    addresses: new Addresses(index),
    numbers: new Numbers(context, index),
    quotas: new Quotas(context, index),
    writer,
    presenter,
    newId,
    advice: new AdviceShelf(context.clock, newId),
  };
  const services: Services = {
    context,
    records,
    lists: new RecordLists(context, presenter),
    documents: new Documents(records),
    vmVerbs: new VmVerbs(records),
    sessions: new Sessions(context),
    passwords: new PasswordGate(),
    throttle: new LoginThrottle(context.clock),
    audit,
    trail,
    refused: new RefusedAttempts(context, trail),
    hub: new WatchHub(context, presenter),
    capacity: new Capacity(context, presenter),
    metrics: new Metrics(context, writer, trail),
    ...(context.telemetry === undefined ? {} : { survey: new UseSurvey({ ...context, figures: context.telemetry }) }),
  };
  services.lists.prepare();
  await audit.start();
  await records.numbers.start();
  await services.sessions.start();
  services.refused.start();
  return services;
}

export async function stopServices(services: Services): Promise<void> {
  services.hub.stop();
  services.survey?.stop();
  services.sessions.stop();
  await services.refused.stop();
  await services.audit.stop();
}
