/** The server's own figures in Prometheus' text form. Counted by the API as it works, gauges read when asked. Called by `/metrics`. */
import { kinds } from "@sheaf/model";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { AuditTrail } from "../audit/audit-trail.ts";
import type { ServerContext } from "../context.ts";
import type { RecordWriter } from "../records/record-writer.ts";

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<"route" | "status">;
  readonly #durations: Histogram<"route">;
  readonly #refused: Counter<"code">;

  constructor(context: ServerContext, writer: RecordWriter, trail: Pick<AuditTrail, "last" | "head">) {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: "sheaf_http_requests_total",
      help: "Requests by route and status",
      labelNames: ["route", "status"],
      registers,
    });
    this.#durations = new Histogram({
      name: "sheaf_http_request_duration_seconds",
      help: "Time from a request's headers to its answer",
      labelNames: ["route"],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      registers,
    });
    this.#refused = new Counter({ name: "sheaf_refused_requests_total", help: "Requests refused, by problem", labelNames: ["code"], registers });
    const gauge = (name: string, help: string, labelNames: string[], collect: (this: Gauge) => void): Gauge =>
      new Gauge({ name, help, labelNames, collect, registers });
    const counter = (name: string, help: string, labelNames: string[], collect: (this: Counter) => void): Counter =>
      new Counter({ name, help, labelNames, collect, registers });
    counter("sheaf_store_transactions_total", "Transactions of requests by how they ended", ["result"], function () {
      this.reset();
      for (const [result, count] of Object.entries(writer.counts)) this.inc({ result }, count);
    });
    gauge("sheaf_build_info", "Always 1; the version is the label", ["version"], function () {
      this.set({ version: context.settings.version }, 1);
    });
    gauge("sheaf_audit_unsealed_entries", "Entries of the audit trail that have no seal yet", [], function () {
      this.set(trail.last - trail.head.to);
    });
    gauge("sheaf_host_clock_skew_seconds", "How far a host's clock is off, where that is more than is tolerated", ["host"], function () {
      this.reset();
      for (const host of context.cache.all("host"))
        if (host.status.clock !== undefined) this.set({ host: host.name }, host.status.clock.skewMs / 1000);
    });
    gauge("sheaf_records", "Records in memory", ["kind"], function () {
      for (const kind of kinds) this.set({ kind }, context.cache.count(kind));
    });
    gauge("sheaf_cache_revision", "Newest revision of the store in memory", [], function () {
      this.set(context.cache.revision);
    });
    gauge("sheaf_agents_connected", "Hosts whose agent is connected to this server", [], function () {
      let connected = 0;
      for (const host of context.cache.all("host")) if (context.agents.connected(host.id)) connected += 1;
      this.set(connected);
    });
  }

  answered(route: string, status: number, milliseconds: number): void {
    this.#requests.inc({ route, status });
    this.#durations.observe({ route }, milliseconds / 1000);
  }

  refused(code: string): void {
    this.#refused.inc({ code });
  }

  /** For figures of other parts of the server. */
  get registry(): Registry {
    return this.#registry;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
