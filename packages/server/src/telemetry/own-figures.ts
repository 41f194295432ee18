/** Answers from the telemetry files of this server: for its own API, and for other servers over their link. */
import type { Series, SeriesQuestion, Telemetry, TopQuestion } from "@sheaf/telemetry";
import type { Clock } from "@sheaf/base";
import type { MachineUse } from "@sheaf/planning";
import type { RecordCache, TopScope } from "../context.ts";
import { measureMachine } from "../right-sizing/measure-machine.ts";

export type FiguresQuestion =
  | { readonly series: SeriesQuestion }
  | { readonly top: TopQuestion; readonly scope: TopScope }
  /** A machine's id. */
  | { readonly use: string };
export type TopFigures = readonly { readonly id: string; readonly value: number }[];

export class OwnFigures {
  readonly #telemetry: Pick<Telemetry, "series" | "top" | "fiveMinuteRows">;
  readonly #cache: Pick<RecordCache, "get">;
  readonly #clock: Clock;

  constructor(telemetry: Pick<Telemetry, "series" | "top" | "fiveMinuteRows">, cache: Pick<RecordCache, "get">, clock: Clock) {
    this.#telemetry = telemetry;
    this.#cache = cache;
    this.#clock = clock;
  }

  series(question: SeriesQuestion): Promise<Series> {
    return this.#telemetry.series(question);
  }

  top(question: TopQuestion, scope: TopScope): TopFigures {
    const projects = scope === "everything" ? null : new Set(scope);
    const mayBeIn = (id: string): boolean => {
      const record = this.#cache.get(question.kind, id);
      return record !== undefined && (projects === null || (record.project !== undefined && projects.has(record.project)));
    };
    return this.#telemetry.top(this.#clock.now(), { ...question, only: mayBeIn });
  }

  use(vmId: string): Promise<MachineUse> {
    return measureMachine(this.#telemetry, vmId, this.#clock.now());
  }

  answer(question: FiguresQuestion): Promise<Series> | TopFigures | Promise<MachineUse> {
    if ("use" in question) return this.use(question.use);
    return "series" in question ? this.series(question.series) : this.top(question.top, question.scope);
  }
}
