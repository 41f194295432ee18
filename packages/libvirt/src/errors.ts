/**
 * Everything a call can fail with. Three questions decide what a caller may do next: did the daemon answer (`LibvirtError`), is it
 * unknown whether the call was carried out (`outcomeUnknown`), or did nothing happen at all?
 */
import { ErrorCode, type ErrorCodeName, ErrorSource, type ErrorSourceName, nameOf } from "./error-codes.ts";
import type { DomainReference, RemoteError } from "./structures.ts";

/** The base of all errors of this library (invalid arguments come as `XdrError`). */
export class LibvirtClientError extends Error {
  override readonly name: string = "LibvirtClientError";
  /** True when the daemon may have carried the call out, or may yet do so: look before repeating it. */
  readonly outcomeUnknown: boolean;

  constructor(message: string, outcomeUnknown: boolean, options?: ErrorOptions) {
    super(message, options);
    this.outcomeUnknown = outcomeUnknown;
  }
}

/** The daemon refused or failed: its code, source, level and message, untouched. */
export class LibvirtError extends LibvirtClientError {
  override readonly name = "LibvirtError";
  /** virErrorNumber; compare with `ErrorCode`. */
  readonly code: number;
  /** virErrorDomain, the part of libvirt that complains; compare with `ErrorSource`. */
  readonly from: number;
  /** 1 warning, 2 error. */
  readonly level: number;
  /** libvirt's own text, without the procedure in front. */
  readonly libvirtMessage: string;
  /** The procedure that was called. */
  readonly procedure: string;
  readonly domain: DomainReference | null;
  /** Further texts and numbers; their meaning depends on the code (`numbers[0]` is errno for `systemError`). */
  readonly texts: readonly (string | null)[];
  readonly numbers: readonly [number, number];

  constructor(procedure: string, error: RemoteError) {
    const message = error.message ?? "libvirt gave no message";
    super(`${procedure}: ${message}`, false);
    this.procedure = procedure;
    this.code = error.code;
    this.from = error.from;
    this.level = error.level;
    this.libvirtMessage = message;
    this.domain = error.domain;
    this.texts = [error.text1, error.text2, error.text3];
    this.numbers = [error.number1, error.number2];
  }

  /** The code's name in `ErrorCode`, or undefined for a rare one. */
  get codeName(): ErrorCodeName | undefined {
    return nameOf(ErrorCode, this.code);
  }

  get fromName(): ErrorSourceName | undefined {
    return nameOf(ErrorSource, this.from);
  }
}

/** No answer within the call's deadline. */
export class LibvirtTimeoutError extends LibvirtClientError {
  override readonly name = "LibvirtTimeoutError";
  readonly procedure: string;
  readonly timeoutMs: number;

  constructor(procedure: string, timeoutMs: number, outcomeUnknown: boolean) {
    super(
      outcomeUnknown
        ? `${procedure} got no answer within ${timeoutMs} ms; the daemon may still carry it out`
        : `${procedure} was not sent within ${timeoutMs} ms, because no connection had room for it`,
      outcomeUnknown,
    );
    this.procedure = procedure;
    this.timeoutMs = timeoutMs;
  }
}

/** The caller's signal ended the wait. `cause` is the signal's reason. */
export class LibvirtAbortError extends LibvirtClientError {
  override readonly name = "LibvirtAbortError";

  constructor(procedure: string, outcomeUnknown: boolean, cause: unknown) {
    super(
      `${procedure} was cancelled by its caller${outcomeUnknown ? "; the daemon may still carry it out" : " before it was sent"}`,
      outcomeUnknown,
      {
        cause,
      },
    );
  }
}

/** The connection was lost, could not be made, or was closed. */
export class LibvirtConnectionError extends LibvirtClientError {
  override readonly name = "LibvirtConnectionError";
}

/** The other side broke the protocol; the connection is closed. */
export class LibvirtProtocolError extends LibvirtClientError {
  override readonly name = "LibvirtProtocolError";
}

/** True for an error the daemon answered with one of these codes. */
export function isLibvirtError(error: unknown, ...codes: readonly ErrorCodeName[]): error is LibvirtError {
  return error instanceof LibvirtError && (codes.length === 0 || codes.some((code) => ErrorCode[code] === error.code));
}
