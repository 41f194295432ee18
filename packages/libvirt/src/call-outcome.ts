/** How a call ends: its reply read, the daemon's refusal, or the caller's patience. */
import { type Codec, decodeValue } from "./codec.ts";
import { LibvirtAbortError, LibvirtClientError, LibvirtError, LibvirtProtocolError, LibvirtTimeoutError } from "./errors.ts";
import { type Frame, MessageStatus } from "./frame.ts";
import { type RemoteError, remoteError } from "./structures.ts";

/** The reply in a frame. Throws the daemon's own error, or a `LibvirtProtocolError` when it cannot be understood. */
export function decodeReply<R>(codec: Codec<R>, frame: Frame, procedure: string): R {
  const { status, payload } = frame;
  if (status !== MessageStatus.ok && status !== MessageStatus.error)
    throw new LibvirtProtocolError(`${procedure} was answered with status ${status}`, true);
  let refusal: RemoteError;
  try {
    if (status === MessageStatus.ok) return decodeValue(codec, payload);
    refusal = decodeValue(remoteError, payload);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new LibvirtProtocolError(`the answer to ${procedure} cannot be understood: ${reason}`, true, { cause: error });
  }
  throw new LibvirtError(procedure, refusal);
}

/** What a call rejects with when its signal fires: the signal's own reason if it is one of our errors, told whether the call was sent. */
export function endedBy(signal: AbortSignal, procedure: string, sent: boolean): LibvirtClientError {
  const reason: unknown = signal.reason;
  if (reason instanceof LibvirtTimeoutError) return new LibvirtTimeoutError(reason.procedure, reason.timeoutMs, sent);
  if (reason instanceof LibvirtClientError) return reason;
  return new LibvirtAbortError(procedure, sent, reason);
}
