/**
 * The site's figures: this server's files hold what its own agents told, other servers' what theirs did, and a host may have been with several.
 * What a server that is not reached has is missing in the answer: it is never waited for long.
 */
import { joinUse, type MachineUse } from "@sheaf/planning";
import type { Series, SeriesQuestion, TopQuestion } from "@sheaf/telemetry";
import type { SiteTelemetry, TopScope } from "../context.ts";
import type { FiguresQuestion, OwnFigures, TopFigures } from "./own-figures.ts";

export interface OtherServers {
  /** Of every server that is reached and keeps figures. */
  figures(question: FiguresQuestion): Promise<readonly unknown[]>;
}

export class SiteFigures implements SiteTelemetry {
  readonly #own: OwnFigures;
  readonly #others: OtherServers;

  constructor(own: OwnFigures, others: OtherServers) {
    this.#own = own;
    this.#others = others;
  }

  async series(question: SeriesQuestion): Promise<Series> {
    const [own, others] = await Promise.all([this.#own.series(question), this.#others.figures({ series: question })]);
    return (others as readonly Series[]).reduce((sum, each) => joinSeries(sum, each, question), own); // the same code answered there
  }

  async top(question: TopQuestion, scope: TopScope): Promise<TopFigures> {
    const others = (await this.#others.figures({ top: question, scope })) as readonly TopFigures[]; // the same code answered there
    const greatest = new Map<string, number>();
    for (const { id, value } of [this.#own.top(question, scope), ...others].flat()) greatest.set(id, Math.max(value, greatest.get(id) ?? value));
    return [...greatest]
      .map(([id, value]) => ({ id, value }))
      .sort((left, right) => right.value - left.value)
      .slice(0, question.count);
  }

  async use(vmId: string): Promise<MachineUse> {
    const [own, others] = await Promise.all([this.#own.use(vmId), this.#others.figures({ use: vmId })]);
    return (others as readonly MachineUse[]).reduce(joinUse, own); // the same code answered there
  }
}

/** A step in which a host changed its server has two figures: of means the mean is taken, of the rest the greater, or the less. */
function joinSeries(left: Series, right: Series, { by }: SeriesQuestion): Series {
  // A server that keeps other resolutions: what has more is shown.
  if (left.from !== right.from || left.stepMs !== right.stepMs) return measured(right) > measured(left) ? right : left;
  const join = (one: number | null | undefined, other: number | null | undefined): number | null => {
    if (one === null || one === undefined) return other ?? null;
    if (other === null || other === undefined) return one;
    return by === "mean" ? (one + other) / 2 : by === "min" ? Math.min(one, other) : Math.max(one, other);
  };
  const values = Object.entries(left.values).map(([name, figures]) => [
    name,
    figures.map((figure, place) => join(figure, right.values[name]?.[place])),
  ]);
  return { ...left, values: Object.fromEntries(values) as Series["values"] }; // the same names
}

const measured = ({ values }: Series): number =>
  Object.values(values).reduce((sum, figures) => sum + figures.filter((each) => each !== null).length, 0);
