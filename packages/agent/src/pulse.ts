/**
 * The pulse of a host: a process of its own beside the agent that says "this host lives" by two other ways than the agent's: small requests
 * to the server, and a file in each shared pool that other hosts can see. So a hung agent, or a management network that is cut, is told
 * from a host that is off. It also holds the host's watchdog, where the host is to fence itself. Started by `apps/agent`; it must never depend
 * on what the agent does but for the words it is handed.
 */
import type { Clock, Logger, Timer } from "@sheaf/base";
import type { LeaseGrant, PulseMessage } from "@sheaf/contract";
import { leaseLookMs } from "./lease-files.ts";
import type { Files, Processes, Watchdogs } from "./ports.ts";
import { WatchdogKeeper } from "./watchdog-keeper.ts";

export interface PulsePorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Pick<Files, "readText" | "writeAtomic" | "makeDirectory" | "facts" | "list">;
  readonly processes: Processes;
  readonly watchdogs: Watchdogs;
  /** Ms since the host booted, time asleep included. */
  readonly sinceBoot: () => number;
  /**
   * One small request to a server, first to the one that is named. Rejects when it does not come through within `limitMs`.
   * @returns what the host may go on by; `null`: nothing
   */
  readonly tell: (message: PulseMessage, limitMs: number, server: string | undefined) => Promise<LeaseGrant | null>;
  readonly agent: () => AgentWord;
}

/** What the agent says of itself. */
export interface AgentWord {
  /** Since it last said that it works, ms. */
  readonly silentMs: number;
  /** It said then that its server hears it, and will not ask for the pulse soon. */
  readonly calm: boolean;
}

export interface PulseOptions {
  readonly dataDirectory: string;
  readonly hostId: string;
  readonly bootId: string;
}

export interface Pulse {
  /** What is under way is left behind. */
  stop(): void;
}

export const pulseEveryMs = 1000;
/** While the agent works and is calm nobody asks for the pulse: it comes less often, and every second from when it may be asked for. */
const calmEveryMs = 5000;
/** The agent says every second that it works. */
const agentWorksMs = 2000;
/** A request or a write that takes longer is given up; the next one is another. */
const limitMs = 5000;
/** Most hosts do not fence themselves. */
const idleLookMs = 5000;

/** Where the agent says which shared pools there are: one path a line. */
export const pulsePoolsFile = (dataDirectory: string): string => `${dataDirectory}/pulse-pools`;
export const pulseFile = (poolPath: string, hostId: string): string => `${poolPath}/pulse/${hostId}`;

export function startPulse(ports: PulsePorts, options: PulseOptions): Pulse {
  const { clock, files, logger, sinceBoot } = ports;
  const watchdog = new WatchdogKeeper({ ...ports, ...options });
  let sequence = 0;
  let timer: Timer | undefined;
  let watching: Timer | undefined;
  let ended = false;
  const message = (): PulseMessage => ({
    bootId: options.bootId,
    sequence: (sequence += 1),
    agentSilentMs: Math.round(ports.agent().silentMs),
  });

  async function tellServer(): Promise<void> {
    const sentAt = sinceBoot();
    const grant = await ports.tell(message(), limitMs, watchdog.server);
    if (grant) watchdog.granted(sentAt, grant);
  }

  /** A look that hangs is not followed by another one: two at once would write over each other. */
  async function watch(): Promise<void> {
    await watchdog.look().catch((error: unknown) => logger.error({ reason: String(error) }, "the host's watchdog could not be looked after"));
    if (!ended) watching = clock.setTimer(watchdog.wanted ? leaseLookMs : idleLookMs, () => void watch());
  }

  async function writeToPools(): Promise<void> {
    const paths = ((await files.readText(pulsePoolsFile(options.dataDirectory))) ?? "").split("\n").filter(Boolean);
    if (paths.length === 0) return;
    const text = `${JSON.stringify({ ...message(), at: clock.now() })}\n`;
    await Promise.all(paths.map((path) => writeTo(path, text)));
  }

  async function writeTo(path: string, text: string): Promise<void> {
    // What is not mounted must not be made on the host's own disk.
    if (!(await files.facts(path))) return;
    await files.makeDirectory(`${path}/pulse`, 0o755);
    await files.writeAtomic(pulseFile(path, options.hostId), text, { mode: 0o644 });
  }

  // Each by itself: storage that hangs does not hold up the network, nor the other way round.
  const ways = [new Way("server", ports, tellServer), new Way("storage", ports, writeToPools)];
  let beatAt = Number.NEGATIVE_INFINITY;
  const look = (): void => {
    timer = clock.setTimer(pulseEveryMs, look);
    const { silentMs, calm } = ports.agent();
    const now = clock.monotonic();
    if (calm && silentMs <= agentWorksMs && now - beatAt < calmEveryMs) return;
    beatAt = now;
    for (const way of ways) way.beat();
  };
  look();
  void watch();
  return {
    stop() {
      ended = true;
      timer?.cancel();
      watching?.cancel();
      watchdog.end();
    },
  };
}

/** One of the ways by which a host says that it lives. */
class Way {
  readonly #name: string;
  readonly #ports: PulsePorts;
  readonly #once: () => Promise<void>;
  #failing = false;
  /** Of the beat under way, monotonic ms. */
  #since: number | null = null;

  constructor(name: string, ports: PulsePorts, once: () => Promise<void>) {
    this.#name = name;
    this.#ports = ports;
    this.#once = once;
  }

  beat(): void {
    const now = this.#ports.clock.monotonic();
    if (this.#since !== null) {
      if (now - this.#since < limitMs) return;
      this.#failed(`no end within ${limitMs} ms`);
    }
    this.#since = now;
    this.#once().then(
      () => this.#ended(now, null),
      (error: unknown) => this.#ended(now, String(error)),
    );
  }

  #ended(since: number, reason: string | null): void {
    if (this.#since !== since) return; // given up before
    this.#since = null;
    if (reason !== null) return this.#failed(reason);
    if (this.#failing) this.#ports.logger.info({ way: this.#name }, "the pulse gets through again");
    this.#failing = false;
  }

  #failed(reason: string): void {
    if (!this.#failing) this.#ports.logger.warn({ way: this.#name, reason }, "the pulse does not get through this way");
    this.#failing = true;
  }
}
