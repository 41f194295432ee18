/**
 * Calls of the server: each is answered exactly once, with a result or a problem, within its deadline; `cancel` aborts it. Called by
 * the server link; what the calls do is handed in. A connection that is lost does not end a call: its work is keyed by what it
 * names, and the server asks again.
 */
import type { AgentCalls, AgentMessage, AgentMethod } from "@sheaf/contract";
import { type Clock, deadline, type Logger } from "@sheaf/base";
import { problems, SheafError, type ProblemCode } from "@sheaf/model";
import { HypervisorError } from "./ports.ts";

export type CallHandlers = {
  readonly [M in AgentMethod]: (parameters: AgentCalls[M]["in"], context: CallContext) => Promise<AgentCalls[M]["out"]>;
};

export interface CallContext {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

type Reply = Extract<AgentMessage, { readonly type: "reply" }>;
/** What a server may ask at once; more is refused. */
const maximumCalls = 256;

export class CallDispatch {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #handlers: CallHandlers;
  readonly #running = new Map<number, AbortController>();

  constructor(options: { readonly clock: Clock; readonly logger: Logger; readonly handlers: CallHandlers }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#handlers = options.handlers;
  }

  async run(call: { readonly id: number; readonly method: AgentMethod; readonly parameters: unknown; readonly timeoutMs: number }): Promise<Reply> {
    const { id, method, timeoutMs } = call;
    // A newer server may know methods that this agent does not.
    const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined;
    if (!handler) return refusal(id, new SheafError("invalid-input", `this host's agent does not know the call ${method}: update the agent`));
    if (this.#running.size >= maximumCalls)
      return refusal(id, new SheafError("throttled", `this host's agent works on ${maximumCalls} calls already: try again`));
    const controller = new AbortController();
    this.#running.set(id, controller);
    const limit = deadline(
      this.#clock,
      timeoutMs,
      () => new SheafError("timed-out", `${method} did not end within ${timeoutMs} ms; look at what was done before repeating it`),
      controller.signal,
    );
    try {
      // The contract ties parameters to the method; both come from one message of the server.
      const work = (handler as (parameters: unknown, context: CallContext) => Promise<unknown>)(call.parameters, { signal: limit.signal, timeoutMs });
      return { type: "reply", id, ok: true, result: await orAborted(work, limit.signal) };
    } catch (error) {
      this.#logger.warn({ call: method, reason: message(error) }, "a call of the server failed");
      return refusal(id, error);
    } finally {
      limit.done();
      // After a lost connection the number may be another call's.
      if (this.#running.get(id) === controller) this.#running.delete(id);
    }
  }

  cancel(id: number): void {
    this.#running.get(id)?.abort(new SheafError("cancelled", "the server cancelled the call"));
  }

  /** The connection is gone: numbers of calls begin anew. Work goes on by itself. */
  disconnected(): void {
    this.#running.clear();
  }
}

/** The work may not listen to its signal; its caller is answered all the same. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function refusal(id: number, error: unknown): Reply {
  return { type: "reply", id, ok: false, problem: toProblem(error) };
}

function toProblem(error: unknown): { code: ProblemCode; message: string; cause?: string; next?: string } {
  if (error instanceof SheafError) {
    const { cause, next } = error.extra;
    return { code: error.code, message: error.message, ...(cause === undefined ? {} : { cause }), ...(next === undefined ? {} : { next }) };
  }
  if (error instanceof HypervisorError) {
    const code =
      error.kind === "timed-out" || error.kind === "disconnected" ? "timed-out" : error.kind === "unknown-domain" ? "not-found" : "hypervisor-failed";
    return { code, message: error.message, cause: error.message };
  }
  return { code: "internal", message: `${problems.internal.meaning} (${message(error)})` };
}
