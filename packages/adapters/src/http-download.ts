/**
 * Fetching a file over HTTP or HTTPS from an address that a user named: the real side of the image library's download port.
 * Only http and https, a few redirects, no credentials sent on; the address is checked after the name was looked up and the
 * connection goes to that very address, so that a name which changes its answer reaches nothing that is forbidden.
 */
import { lookup as lookUpName, type LookupAddress } from "node:dns";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP, type LookupFunction } from "node:net";

export interface DownloadOptions {
  /** First byte wanted; 0 for the whole file. */
  readonly offset: number;
  /** With an offset: the entity tag (or Last-Modified) of what is there already. The server answers the whole file when it has changed. */
  readonly validator?: string;
  readonly signal: AbortSignal;
  /** Longest silence on the connection, ms. */
  readonly idleTimeoutMs: number;
  /** Also from this machine itself. Off by default: a user could read what listens there. Link-local addresses never. */
  readonly allowLoopback?: boolean;
}

export interface Download {
  /** Where the first byte of `body` stands in the file: the offset asked for, or 0 when the server gives the whole file. */
  readonly offset: number;
  /** Of the whole file; absent when the server does not say. */
  readonly totalBytes?: number;
  /** To resume with: a strong entity tag or Last-Modified. */
  readonly validator?: string;
  readonly body: AsyncIterable<Uint8Array>;
}

export type DownloadErrorCode = "refused-address" | "not-found" | "refused" | "unreachable" | "range-not-satisfiable";

export class DownloadError extends Error {
  override readonly name = "DownloadError";
  readonly code: DownloadErrorCode;
  /** Whether the same request may succeed later. */
  readonly temporary: boolean;
  constructor(code: DownloadErrorCode, message: string, temporary: boolean) {
    super(message);
    this.code = code;
    this.temporary = temporary;
  }
}

const maximumRedirects = 5;

/** @throws DownloadError before the body begins; while it is read, errors of the connection come as they are and are temporary */
export async function download(url: string, options: DownloadOptions): Promise<Download> {
  let target = parse(url);
  for (let redirects = 0; redirects <= maximumRedirects; redirects += 1) {
    const answer = await ask(target, options);
    const status = answer.statusCode ?? 0;
    if ([301, 302, 303, 307, 308].includes(status)) {
      answer.resume();
      const next = parse(new URL(answer.headers.location ?? "", target).href);
      if (target.protocol === "https:" && next.protocol === "http:") {
        throw new DownloadError("refused", `${target.host} redirects from https to http: give the address it redirects to, if that is meant`, false);
      }
      target = next;
      continue;
    }
    return understand(answer, target, options);
  }
  throw new DownloadError("refused", `more than ${maximumRedirects} redirects from ${new URL(url).host}`, false);
}

function parse(url: string): URL {
  let target: URL;
  try {
    target = new URL(url);
  } catch {
    throw new DownloadError("refused", "this is no address: give one such as https://example.org/image.qcow2", false);
  }
  if (target.protocol !== "http:" && target.protocol !== "https:") {
    throw new DownloadError("refused", `${target.protocol} addresses are not fetched: use http or https`, false);
  }
  return target;
}

function ask(target: URL, options: DownloadOptions): Promise<IncomingMessage> {
  const forbidden = forbiddenAddresses(options.allowLoopback ?? false);
  const check = (address: string, family: number): DownloadError | null =>
    isForbidden(forbidden, address, family)
      ? new DownloadError(
          "refused-address",
          `${target.hostname} is ${address}, which the server does not fetch from (its own machine or a link-local address): put the file on a web server, or upload it`,
          false,
        )
      : null;
  const lookup: LookupFunction = (name, lookupOptions, callback) => {
    lookUpName(name, { ...lookupOptions, all: true }, (error, found: LookupAddress[]) => {
      if (error) return callback(error, "", 4);
      for (const { address, family } of found) {
        const refusal = check(address, family);
        if (refusal) return callback(refusal, "", 4);
      }
      const first = found[0];
      if (lookupOptions.all) callback(null, found);
      else callback(null, first?.address ?? "", first?.family ?? 4);
    });
  };
  // Names are checked in `lookup`; an address in the URL is never looked up.
  const literal = target.hostname.replace(/^\[|\]$/g, "");
  const refusal = isIP(literal) ? check(literal, isIP(literal)) : null;
  if (refusal) return Promise.reject(refusal);
  const requestOptions: RequestOptions = {
    method: "GET",
    lookup,
    agent: false, // a connection of its own: nothing is shared between users' downloads
    signal: options.signal,
    timeout: options.idleTimeoutMs,
    headers: {
      "user-agent": "sheaf",
      accept: "*/*",
      "accept-encoding": "identity",
      ...(options.offset > 0 ? { range: `bytes=${options.offset}-` } : {}),
      ...(options.offset > 0 && options.validator !== undefined ? { "if-range": options.validator } : {}),
    },
  };
  return new Promise((resolve, reject) => {
    const request = (target.protocol === "https:" ? httpsRequest : httpRequest)(target, requestOptions, resolve);
    request.once("timeout", () =>
      request.destroy(new DownloadError("unreachable", `${target.host} was silent for ${options.idleTimeoutMs} ms`, true)),
    );
    request.once("error", (error) =>
      reject(
        error instanceof DownloadError || options.signal.aborted ? error : new DownloadError("unreachable", `${target.host}: ${error.message}`, true),
      ),
    );
    request.end();
  });
}

function understand(answer: IncomingMessage, target: URL, options: DownloadOptions): Download {
  const status = answer.statusCode ?? 0;
  const length = wholeNumber(answer.headers["content-length"]);
  const validator = strongValidator(answer);
  const found = {
    body: answer as AsyncIterable<Uint8Array> /* no encoding is set: it yields buffers */,
    ...(validator === undefined ? {} : { validator }),
  };
  if (status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(answer.headers["content-range"] ?? "");
    if (!range || Number(range[1]) !== options.offset) {
      answer.destroy();
      throw new DownloadError("refused", `${target.host} answered another part than was asked for`, false);
    }
    return { ...found, offset: options.offset, ...(range[2] === "*" ? {} : { totalBytes: Number(range[2]) }) };
  }
  if (status === 200) return { ...found, offset: 0, ...(length === undefined ? {} : { totalBytes: length }) };
  answer.destroy();
  if (status === 416) throw new DownloadError("range-not-satisfiable", `${target.host} has no bytes behind ${options.offset}`, true);
  if (status === 404 || status === 410) throw new DownloadError("not-found", `${target.host} answers ${status}: there is no such file`, false);
  throw new DownloadError(
    "refused",
    `${target.host} answers ${status} ${answer.statusMessage ?? ""}`.trim(),
    status >= 500 || status === 429 || status === 408,
  );
}

function strongValidator(answer: IncomingMessage): string | undefined {
  const { etag } = answer.headers;
  return etag !== undefined && !etag.startsWith("W/") ? etag : answer.headers["last-modified"];
}

function wholeNumber(text: string | undefined): number | undefined {
  const value = Number(text);
  return text !== undefined && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

function forbiddenAddresses(allowLoopback: boolean): BlockList {
  const list = new BlockList();
  list.addSubnet("169.254.0.0", 16, "ipv4"); // link-local: clouds answer credentials there
  list.addSubnet("fe80::", 10, "ipv6");
  list.addSubnet("224.0.0.0", 3, "ipv4"); // multicast, reserved, broadcast
  list.addSubnet("ff00::", 8, "ipv6");
  if (!allowLoopback) {
    list.addSubnet("127.0.0.0", 8, "ipv4");
    list.addSubnet("0.0.0.0", 8, "ipv4");
    list.addAddress("::1", "ipv6");
    list.addAddress("::", "ipv6");
  }
  return list;
}

/** IPv4 addresses written as IPv6 (`::ffff:127.0.0.1`) are what they stand for. */
function isForbidden(list: BlockList, address: string, family: number): boolean {
  return list.check(address, family === 6 ? "ipv6" : "ipv4");
}
