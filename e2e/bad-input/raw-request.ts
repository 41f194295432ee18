/** Requests as a stranger could write them: any bytes, any headers, any certificate. */
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { connect } from "node:tls";
import type { LocalClient } from "../../apps/server/deployment/local-client.ts";

export interface RawRequest {
  readonly method?: string;
  readonly path: string;
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** Absent: the administrator's session; `null`: none. */
  readonly token?: string | null;
  readonly certificate?: { readonly cert: string; readonly key: string };
}

export interface RawReply {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

export function ask(client: LocalClient, input: RawRequest): Promise<RawReply> {
  const { method = input.body === undefined ? "GET" : "POST", path, body, token = client.sessionToken } = input;
  return new Promise((resolve, reject) => {
    const sent = request(
      client.url + path,
      {
        agent: false,
        method,
        ca: client.authority,
        timeout: 20_000,
        ...input.certificate,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
          ...input.headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers["content-type"] ?? "",
            text: Buffer.concat(chunks).toString("utf8"),
          }),
        );
      },
    );
    sent.on("timeout", () => sent.destroy(new Error(`${method} ${path.slice(0, 80)} was not answered`)));
    sent.on("error", reject);
    sent.end(body);
  });
}

/** Bytes that are no request: what comes back, whole. */
export function say(client: LocalClient, bytes: string): Promise<string> {
  const { hostname, port } = new URL(client.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), ca: client.authority }, () => socket.write(bytes));
    let text = "";
    socket.setTimeout(20_000, () => socket.destroy(new Error("nothing was answered")));
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.on("error", reject);
    socket.on("close", () => resolve(text));
  });
}

/** Over HTTP/2: the status, or `ended` where the server ended the stream without one. */
export function askHttp2(client: LocalClient, headers: Readonly<Record<string, string>>): Promise<number | "ended"> {
  return new Promise((resolve) => {
    const session = connectHttp2(client.url, { ca: client.authority });
    const done = (result: number | "ended"): void => {
      session.destroy();
      resolve(result);
    };
    session.on("error", () => done("ended"));
    const stream = session.request({ authorization: `Bearer ${client.sessionToken}`, ...headers });
    stream.on("response", (answer) => done(Number(answer[":status"])));
    stream.on("error", () => done("ended"));
    stream.on("close", () => done("ended"));
    stream.resume().end();
  });
}
