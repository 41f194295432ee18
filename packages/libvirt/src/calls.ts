/** How a call is made, whoever makes it: the client over its shared connections, or a session over its own. */
import { encodeValue } from "./codec.ts";
import type { Procedure } from "./procedures/procedure.ts";
import { type Arguments, type ProcedureName, procedures, type Reply } from "./procedures/table.ts";
import type { LibvirtStream } from "./stream.ts";
import { XdrError } from "./xdr.ts";

export interface CallOptions {
  /** Deadline, waiting for a place included. Default: `LibvirtOptions.callTimeoutMs`, or `longCallTimeoutMs` for long procedures. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait; a call that was sent may still be carried out. */
  readonly signal?: AbortSignal | undefined;
}

/** Whatever makes calls: the client, or a session on a connection of its own. */
export interface Caller {
  call<N extends ProcedureName>(name: N, args: Arguments<N>, options?: CallOptions): Promise<Reply<N>>;
  openStream<N extends ProcedureName>(
    name: N,
    args: Arguments<N>,
    options?: CallOptions,
  ): Promise<{ readonly reply: Reply<N>; readonly stream: LibvirtStream }>;
}

/** The table's entry under the types of its name. */
export function typedProcedure<N extends ProcedureName>(name: N): Procedure<Arguments<N>, Reply<N>> {
  // Arguments<N> and Reply<N> are by definition the types of this very entry.
  return procedures[name] as unknown as Procedure<Arguments<N>, Reply<N>>;
}

export function encodeArguments<A>(procedure: Procedure<A, unknown>, args: A): Uint8Array {
  try {
    return encodeValue(procedure.args, args);
  } catch (error) {
    throw error instanceof XdrError ? error.within(procedure.name) : error;
  }
}
