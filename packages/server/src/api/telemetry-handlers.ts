/** Handlers of figures over time. */
import { routes } from "@sheaf/contract";
import { clusterMetricNames, hostMetricNames, SheafError, vmMetricNames } from "@sheaf/model";
import type { Aggregation } from "@sheaf/telemetry";
import type { SiteTelemetry } from "../context.ts";
import { json, notAllowed, on, type AnyHandler, type Call } from "./call.ts";

const { cluster, host, vm } = routes;
const hourMs = 3_600_000;

export const telemetryHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(vm.metrics, async (call) => {
    const { id } = call.target("vm", call.params.id, call.query.project);
    return json(await keptFigures(call).series({ kind: "vm", id, ...asked(call, vmMetricNames) }));
  }),
  on(host.metrics, async (call) => {
    const { id } = call.target("host", call.params.id, undefined);
    return json(await keptFigures(call).series({ kind: "host", id, ...asked(call, hostMetricNames) }));
  }),
  on(cluster.metrics, async (call) => {
    const { id } = call.target("cluster", call.params.id, undefined);
    return json(await keptFigures(call).series({ kind: "cluster", id, ...asked(call, clusterMetricNames) }));
  }),
  on(vm.top, async (call) => {
    const { cache } = call.services.context;
    const { project, ...question } = call.query;
    const { rights } = call.caller;
    const wanted = project === undefined ? undefined : call.services.records.references.project(call.caller, project).id;
    if (wanted === undefined ? !rights.anywhere("vm.view") : !rights.in("vm.view", wanted)) throw notAllowed("vm.view");
    const visible = (): string[] => [...cache.all("project")].map(({ id }) => id).filter((id) => rights.in("vm.view", id));
    const scope = wanted === undefined ? (rights.everywhere("vm.view") ? "everything" : visible()) : [wanted];
    const found = await keptFigures(call).top({ kind: "vm", ...question }, scope);
    return json({ items: found.flatMap(({ id, value }) => named(cache.get("vm", id), value)) });
  }),
  on(host.top, async (call) => {
    call.everywhere("host.view");
    const { cache } = call.services.context;
    const { project: _none, ...question } = call.query;
    const found = await keptFigures(call).top({ kind: "host", ...question }, "everything");
    return json({ items: found.flatMap(({ id, value }) => named(cache.get("host", id), value)) });
  }),
];

/** @throws SheafError `unavailable` */
function keptFigures({ services }: Call): SiteTelemetry {
  const { telemetry } = services.context;
  if (!telemetry) throw new SheafError("unavailable", "This server keeps no figures over time.");
  return telemetry;
}

interface SeriesQuery {
  readonly metrics?: readonly string[] | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly stepMs?: number | undefined;
  readonly by: string;
}

/** @throws SheafError `invalid-input` */
function asked({ query, services }: Call<unknown, SeriesQuery>, all: readonly string[]) {
  const to = query.to ?? services.context.clock.now();
  const from = query.from ?? Math.max(0, to - hourMs);
  if (from >= to) throw new SheafError("invalid-input", "The time that was asked for ends before it begins: `from` must be less than `to`.");
  return { metrics: query.metrics ?? all, from, to, by: aggregationOf(query.by), ...(query.stepMs === undefined ? {} : { stepMs: query.stepMs }) };
}

/** The route's schema lets nothing else through. */
function aggregationOf(by: string): Aggregation {
  if (by === "max" || by === "min") return by;
  return by.startsWith("p") ? { percentile: Number(by.slice(1)) } : "mean";
}

function named(record: { readonly id: string; readonly name: string; readonly project?: string | undefined } | undefined, value: number) {
  if (!record) return [];
  const { id, name, project } = record;
  return [{ id, name, ...(project === undefined ? {} : { project }), value }];
}
