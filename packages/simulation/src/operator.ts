/**
 * The people and programs that use the API: each asks, waits for the answer, and asks again with the same key where none came or the
 * server says to. What was acknowledged to them is remembered for the checks.
 */
import { type Clock, sleep } from "@sheaf/base";
import type { Chance } from "./chance.ts";
import type { Invariants } from "./invariants.ts";
import type { Answer, Request, SimulatedServer } from "./simulated-server.ts";
import type { Story } from "./story.ts";

const patienceMs = 20_000;
const tries = 60;

export interface OperatorOptions {
  readonly servers: readonly SimulatedServer[];
  readonly clock: Clock;
  readonly chance: Chance;
  readonly story: Story;
  readonly invariants: Invariants;
  readonly token: string;
}

export class Operator {
  readonly #options: OperatorOptions;
  #asked = 0;
  /** Requests that wait for their answer. */
  waiting = 0;
  /** Share of answers that get lost on their way. */
  lostAnswers = 0;

  constructor(options: OperatorOptions) {
    this.#options = options;
  }

  /** @returns the last answer, be it a refusal; `null` where none came in all tries */
  async ask(what: string, request: Omit<Request, "token" | "key">): Promise<Answer | null> {
    const { story, token, invariants } = this.#options;
    this.#asked += 1;
    const key = request.method === "GET" ? {} : { key: `asked-${this.#asked}` };
    story.tell("operator", what);
    if (request.method === "DELETE") invariants.mayBeGone(request.path.slice(request.path.lastIndexOf("/") + 1));
    this.waiting += 1;
    const answer = await this.#untilAnswered({ ...request, token, ...key });
    this.waiting -= 1;
    if (answer === null) story.tell("operator", `${what}: no answer`);
    else if (answer.status >= 400) story.tell("operator", `${what}: refused (${answer.status}) ${answer.body?.detail ?? answer.body?.title ?? ""}`);
    else if (request.method !== "GET") invariants.acknowledged(what, answer.requestId, answer.body?.record);
    return answer;
  }

  async #untilAnswered(request: Request): Promise<Answer | null> {
    const { clock } = this.#options;
    for (let attempt = 0; attempt < tries; attempt += 1) {
      const answer = await this.#once(request);
      // Names are used once here: who has it is this very request, an earlier try of it.
      if (attempt > 0 && answer?.body?.code === "name-taken") this.#options.invariants.refusedOwnRequest(request.path);
      if (answer !== null && ![429, 503, 504, 507].includes(answer.status)) return answer;
      await sleep(clock, Math.min(30_000, 1000 * 2 ** Math.min(attempt, 5)));
    }
    return null;
  }

  async #once(request: Request): Promise<Answer | null> {
    const { servers, clock, chance } = this.#options;
    const [only] = servers;
    // Any answers everything; also the same request, asked again.
    const server = servers.length === 1 && only ? only : chance.pick(servers);
    const lost = chance.happens(this.lostAnswers);
    const asked = server.request(request).catch(() => null);
    let timer: { cancel(): void } | undefined;
    const patience = new Promise<null>((resolve) => {
      timer = clock.setTimer(patienceMs, () => resolve(null));
    });
    const answer = await Promise.race([asked, patience]);
    timer?.cancel();
    return lost ? null : answer;
  }
}
