/**
 * Calls under way on one agent's connection: each with its number, deadline, cancellation and progress. What is lost with the
 * connection fails as `host-unreachable`, and says that the agent may have done it.
 */
import type { Clock, Timer } from "@sheaf/base";
import type { ServerMessage } from "@sheaf/contract";
import type { CallOptions } from "@sheaf/controllers";
import { problems, SheafError, type ProblemCode } from "@sheaf/model";
import type { Reply } from "./agent-message.ts";

interface Call {
  readonly method: string;
  readonly task: string | null;
  readonly options: CallOptions;
  readonly timer: Timer;
  readonly onAbort: () => void;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class AgentCalls {
  readonly #clock: Clock;
  readonly #send: (message: ServerMessage) => void;
  readonly #calls = new Map<number, Call>();
  #next = 1;

  constructor(clock: Clock, send: (message: ServerMessage) => void) {
    this.#clock = clock;
    this.#send = send;
  }

  /** Those under way. */
  get count(): number {
    return this.#calls.size;
  }

  /** @throws SheafError, see `Agents.call` */
  call(method: Extract<ServerMessage, { type: "call" }>["method"], parameters: unknown, options: CallOptions): Promise<unknown> {
    const id = this.#next;
    this.#next += 1;
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) return reject(cancelled(method));
      const giveUp = (error: SheafError): void => {
        this.#send({ type: "cancel", id });
        this.#end(id)?.reject(error);
      };
      const onAbort = (): void => giveUp(cancelled(method));
      const timer = this.#clock.setTimer(options.timeoutMs, () =>
        giveUp(new SheafError("timed-out", `The host did not answer ${method} within ${options.timeoutMs} ms; it may have done it.`)),
      );
      options.signal?.addEventListener("abort", onAbort, { once: true });
      this.#calls.set(id, { method, task: taskOf(parameters), options, timer, onAbort, resolve, reject });
      this.#send({ type: "call", id, method, parameters, timeoutMs: options.timeoutMs });
    });
  }

  /** Answers to calls that were given up are skipped. */
  reply(reply: Reply): void {
    const call = this.#end(reply.id);
    if (!call) return;
    if (reply.ok) call.resolve(reply.result);
    else call.reject(problemOf(reply.problem));
  }

  /** @returns whether a call of that task is under way */
  progress(task: string, fields: Record<string, unknown>): boolean {
    let found = false;
    for (const call of this.#calls.values()) {
      if (call.task !== task) continue;
      found = true;
      call.options.onProgress?.(fields);
    }
    return found;
  }

  isWorkingOn(task: string): boolean {
    for (const call of this.#calls.values()) if (call.task === task) return true;
    return false;
  }

  close(): void {
    for (const [id, { method }] of this.#calls) {
      this.#end(id)?.reject(
        new SheafError("host-unreachable", `The connection to the host was lost during ${method}; whether it was done is not known.`, {
          next: "Look at what was done, then repeat it when the host is connected again.",
        }),
      );
    }
  }

  #end(id: number): Call | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    call?.timer.cancel();
    call?.options.signal?.removeEventListener("abort", call.onAbort);
    return call;
  }
}

const cancelled = (method: string): SheafError => new SheafError("cancelled", `${method} was cancelled.`);

function taskOf(parameters: unknown): string | null {
  if (typeof parameters !== "object" || parameters === null || !("taskId" in parameters)) return null;
  return typeof parameters.taskId === "string" ? parameters.taskId : null;
}

/** A newer agent's codes are unknown here: the host failed, in its own words. */
function problemOf(problem: Extract<Reply, { ok: false }>["problem"]): SheafError {
  const code = Object.hasOwn(problems, problem.code) ? (problem.code as ProblemCode) /* it has just been found */ : "hypervisor-failed";
  return new SheafError(code, problem.message, {
    ...(problem.cause === undefined ? {} : { cause: problem.cause }),
    ...(problem.next === undefined ? {} : { next: problem.next }),
  });
}
