/**
 * A connection of its own for work whose fate libvirt ties to the connection that began it: above all a migration's phases.
 * Made by `Libvirt.openSession`. Closing it before the work is through undoes the work.
 */
import { LibvirtConnectionError } from "./errors.ts";
import { type CallOptions, type Caller, encodeArguments, typedProcedure } from "./calls.ts";
import type { Arguments, ProcedureName, Reply } from "./procedures/table.ts";
import { type Connection, MAX_CALLS_IN_FLIGHT } from "./wire-connection.ts";

type WithDeadline = <T>(
  procedure: { readonly name: string; readonly long: boolean },
  options: CallOptions,
  run: (signal: AbortSignal) => Promise<T>,
) => Promise<T>;

export class Session implements Caller {
  readonly #connection: Connection;
  readonly #withDeadline: WithDeadline;

  constructor(connection: Connection, withDeadline: WithDeadline) {
    this.#connection = connection;
    this.#withDeadline = withDeadline;
  }

  /** False once the connection was lost or closed: whatever hung on it has been undone by libvirt. */
  get open(): boolean {
    return !this.#connection.isClosed;
  }

  /** As `Libvirt.call`, but at most four calls at a time: a fifth is refused, not queued. */
  async call<N extends ProcedureName>(name: N, args: Arguments<N>, options: CallOptions = {}): Promise<Reply<N>> {
    const procedure = typedProcedure(name);
    const payload = encodeArguments(procedure, args);
    this.#mustHaveRoom(procedure.name);
    return this.#withDeadline(procedure, options, (signal) => this.#connection.call(procedure, payload, signal));
  }

  /** The stream shares the session's connection and does not end it. */
  async openStream<N extends ProcedureName>(name: N, args: Arguments<N>, options: CallOptions = {}) {
    const procedure = typedProcedure(name);
    const payload = encodeArguments(procedure, args);
    this.#mustHaveRoom(procedure.name);
    return this.#withDeadline(procedure, options, (signal) => this.#connection.openStream(procedure, payload, signal, () => undefined));
  }

  close(): void {
    this.#connection.goodbye();
  }

  #mustHaveRoom(name: string): void {
    if (this.#connection.isClosed || this.#connection.hasRoom) return;
    throw new LibvirtConnectionError(`${name} was not sent: the session has ${MAX_CALLS_IN_FLIGHT} calls in flight already`, false);
  }
}
