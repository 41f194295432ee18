/**
 * What servers on one store say to each other over one WebSocket (mutual TLS, both with certificates of servers). Whoever dialled asks;
 * whoever was dialled tells what it hears of its agents, and carries calls and consoles to them. Unknown messages are skipped: servers may differ by one version.
 * Both are of the site's own authority, so that shapes are trusted once the type is known.
 */
import type { AgentMethod, HostLoad, PulseMessage } from "@sheaf/contract";
import type { FiguresQuestion } from "../telemetry/own-figures.ts";

export const peerPath = "/server/v1/socket";

/** Host, ms since it was heard, how uneven its heartbeats come (ms), its boot (absent: a server of the version before). */
export type HeardHost = readonly [hostId: string, silentMs: number, jitterMs: number, bootId?: string];

/** Host, ms since its pulse was heard, what it said, and ms since its lease was last made longer there (absent: it was not). */
export type HeardPulse = readonly [hostId: string, silentMs: number, message: PulseMessage, grantedMs?: number | undefined];

export interface HeldMachine {
  readonly id: string;
  readonly epoch: number;
  readonly incarnation: string;
}

/** From the server that was dialled. */
export type ToldMessage =
  /**
   * Hosts that were heard since the last digest, at first all that are connected, and for how long the store has not answered that server
   * (absent: it does not tell). Comes once a second, empty too.
   */
  | { readonly type: "digest"; readonly heard: readonly HeardHost[]; readonly pulses: readonly HeardPulse[]; readonly storeSilentMs?: number }
  | { readonly type: "host"; readonly hostId: string; readonly connected: boolean; readonly bootId?: string | null }
  /** What agents told of their load last: of every host that is connected there, every 15 s. */
  | { readonly type: "loads"; readonly loads: readonly (readonly [hostId: string, load: HostLoad])[] }
  /** After a restore: what an agent said that it holds. */
  | { readonly type: "held"; readonly hostId: string; readonly machines: readonly HeldMachine[] }
  | { readonly type: "reply"; readonly host: string; readonly id: number; readonly ok: true; readonly result: unknown }
  | {
      readonly type: "reply";
      readonly host: string;
      readonly id: number;
      readonly ok: false;
      readonly problem: { readonly code: string; readonly message: string; readonly cause?: string; readonly next?: string };
    }
  | { readonly type: "progress"; readonly host: string; readonly task: string; readonly fields: Record<string, unknown> }
  /** The fleeting side of tasks, whoever asks for it. */
  | { readonly type: "task-log"; readonly task: string; readonly at: number; readonly text: string }
  | { readonly type: "task-progress"; readonly task: string; readonly fields: Record<string, unknown> }
  /** Figures over time that the asked server has; `null`: it keeps none. */
  | { readonly type: "figures"; readonly id: number; readonly answer: unknown }
  | { readonly type: "opened"; readonly stream: number }
  | { readonly type: "stream-end"; readonly stream: number; readonly reason?: string };

/** From the server that dialled. Streams carry binary frames as between server and agent. */
export type AskedMessage =
  | {
      readonly type: "call";
      readonly host: string;
      readonly id: number;
      readonly method: AgentMethod;
      readonly parameters: unknown;
      readonly timeoutMs: number;
    }
  | { readonly type: "cancel"; readonly host: string; readonly id: number }
  | { readonly type: "figures"; readonly id: number; readonly question: FiguresQuestion }
  | {
      readonly type: "console";
      readonly host: string;
      readonly stream: number;
      readonly vmId: string;
      readonly console: "serial" | "vnc";
      readonly timeoutMs: number;
    }
  | { readonly type: "stream-end"; readonly stream: number; readonly reason?: string };
