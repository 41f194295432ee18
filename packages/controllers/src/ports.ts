/** What controllers need of the server beyond store and cache. The server's gateway implements it; simulation and tests have their own. */
import type { AgentCalls, AgentMethod, HostLoad, PulseMessage } from "@sheaf/contract";
import type { PowerFence, WakeOnLan } from "@sheaf/model";

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Fields of the agent's `progress` messages for this task. */
  readonly onProgress?: (fields: Record<string, unknown>) => void;
}

export interface HeardPulse {
  /** Monotonic ms. */
  readonly heardAt: number;
  readonly message: PulseMessage;
  /** Monotonic ms of the last word, a pulse's or another one's, by which that host's lease was made longer; `null`: by none that is known. */
  readonly grantedAt: number | null;
}

export interface Agents {
  connected(hostId: string): boolean;
  /** Monotonic ms of the last message from that host's agent; `null` where this server has heard none. */
  lastHeardAt(hostId: string): number | null;
  /** The boot of its host that the connected agent told; `null` where it is not connected, or not known. */
  bootId(hostId: string): string | null;
  /** How uneven that agent's heartbeats have come lately, ms (mean deviation); 0 where nothing is known. */
  jitterMs(hostId: string): number;
  /** What the process beside the agent said last, and when (monotonic ms); `null` where this server has heard none. */
  pulse(hostId: string): HeardPulse | null;
  /** What its agent told of the host's load last; `null` where this server has heard none, or it is not connected. */
  load(hostId: string): HostLoad | null;
  /** @throws SheafError `host-unreachable`, `timed-out` (the work may have been done), `hypervisor-failed`, or what the agent answered */
  call<M extends AgentMethod>(hostId: string, method: M, parameters: AgentCalls[M]["in"], options: CallOptions): Promise<AgentCalls[M]["out"]>;
  /** @returns the function that ends the subscription. */
  subscribe(listener: (event: { readonly hostId: string; readonly connected: boolean }) => void): () => void;
}

/** Fleeting side of tasks: log lines and live figures, in memory rings only. */
export interface TaskLog {
  append(taskId: string, text: string): void;
  /** Live figures (bytes moved, rate), shown with the task until it ends. */
  progress(taskId: string, fields: Record<string, unknown>): void;
}

/** Devices that switch hosts' power. Passwords in a method are as stored: whoever implements this opens them. */
export interface FencingDevices {
  /**
   * Cuts the power and asks until the device says that it is off.
   * @throws SheafError `fencing-failed` with the device's words; the power may be off all the same
   */
  off(method: PowerFence, signal: AbortSignal): Promise<void>;
  /**
   * Whether it is off already. Changes nothing.
   * @throws SheafError `fencing-failed` where the device does not say
   */
  isOff(method: PowerFence, signal: AbortSignal): Promise<boolean>;
  /**
   * Turns the power on and asks until the device says that it is on.
   * @throws SheafError `fencing-failed` with the device's words; the power may be on all the same
   */
  on(method: PowerFence, signal: AbortSignal): Promise<void>;
  /** Sends a magic packet from here. Nobody answers one. @throws SheafError `fencing-failed` where it could not be sent */
  wakeOnLan(lan: WakeOnLan): Promise<void>;
}
