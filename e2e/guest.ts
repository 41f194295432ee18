/** What tests ask of a guest made from `mini`: who it is, and whether it went on without a break. */
import { get } from "node:http";
import { until } from "../apps/server/deployment/processes.ts";

export interface GuestStatus {
  readonly hostname: string;
  readonly uptimeSeconds: number;
  readonly bootId: string;
  /** Counted in the guest's memory since its boot. */
  readonly counter: number;
}

/** @returns `undefined` where no answer comes in time. */
export function askGuest(address: string, timeoutMs = 1000): Promise<GuestStatus | undefined> {
  return new Promise((resolve) => {
    const request = get({ host: address, port: 80, path: "/status", timeout: timeoutMs }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", () => resolve(undefined));
      response.on("end", () => {
        try {
          resolve(JSON.parse(text) as GuestStatus); // the image's own page
        } catch {
          resolve(undefined);
        }
      });
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}

export const guestAnswers = (address: string, timeoutMs = 90_000): Promise<GuestStatus> =>
  until(`an answer of the guest at ${address}`, timeoutMs, () => askGuest(address));

export interface Watched {
  readonly answers: readonly { readonly atMs: number; readonly status: GuestStatus }[];
  /** Longest time between two answers, ms. */
  readonly longestGapMs: number;
}

/**
 * Asks every 20 ms until `stop` is called. A question whose packet was lost is given up after 300 ms (TCP itself would say it again only
 * after a second), so that the gap is the guest's and not that of a client that waits.
 */
export function watchGuest(address: string): { stop(): Promise<Watched> } {
  const answers: { atMs: number; status: GuestStatus }[] = [];
  const open = new Set<Promise<void>>();
  const timer = setInterval(() => {
    if (open.size >= 32) return;
    const question = askGuest(address, 300).then((status) => {
      if (status) answers.push({ atMs: performance.now(), status });
      return void open.delete(question);
    });
    open.add(question);
  }, 20);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      const times = answers.map((answer) => answer.atMs).toSorted((a, b) => a - b);
      return { answers, longestGapMs: times.slice(1).reduce((longest, at, index) => Math.max(longest, at - (times[index] ?? at)), 0) };
    },
  };
}
