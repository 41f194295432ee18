/**
 * Serial and VNC consoles, carried over the server link's binary frames. They never listen on a network: the serial console is a
 * stream of libvirt, VNC a unix socket of this host. A reader who is slow holds up the guest's output; a writer who is faster than the
 * guest takes it loses the console, not the agent its memory.
 */
import type { Logger } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import type { ByteStream, Hypervisor, LocalSockets } from "./ports.ts";

export interface ConsolesOptions {
  readonly hypervisor: Hypervisor;
  readonly sockets: LocalSockets;
  readonly logger: Logger;
  /** @returns false when too much is unsent: wait for `drained` */
  readonly send: (stream: number, bytes: Uint8Array) => boolean;
  readonly ended: (stream: number, reason: string | undefined) => void;
}

interface Console {
  readonly bytes: ByteStream;
  /** Taken from the server and not written to the guest yet, bytes. */
  unwritten: number;
  writing: Promise<void>;
}

/** As the wire contract says. */
const creditBytes = 256 * 1024;

export class Consoles {
  readonly #options: ConsolesOptions;
  readonly #open = new Map<number, Console>();
  #waiting: (() => void)[] = [];

  constructor(options: ConsolesOptions) {
    this.#options = options;
  }

  async open(machineId: string, stream: number, type: "serial" | "vnc", signal: AbortSignal): Promise<void> {
    if (this.#open.has(stream)) throw new SheafError("conflict", `stream ${stream} is open already`);
    const { hypervisor, sockets } = this.#options;
    let bytes: ByteStream;
    if (type === "serial") bytes = await hypervisor.serial(machineId);
    else {
      const path = (await hypervisor.describe(machineId, "live")).vncSocket;
      if (path === undefined) throw new SheafError("state-refused", "this machine has no VNC console: it was started without graphics");
      bytes = await sockets.connect(path, signal);
    }
    const console: Console = { bytes, unwritten: 0, writing: Promise.resolve() };
    this.#open.set(stream, console);
    void this.#pump(stream, console);
  }

  /** From the server: what somebody typed. */
  data(stream: number, bytes: Uint8Array): void {
    const console = this.#open.get(stream);
    if (!console || bytes.byteLength === 0) return;
    console.unwritten += bytes.byteLength;
    if (console.unwritten > creditBytes) return this.#end(stream, "the guest does not read what is sent to its console");
    const copy = bytes.slice();
    console.writing = console.writing
      .then(() => console.bytes.write(copy))
      .then(() => void (console.unwritten -= copy.byteLength))
      .catch((error: unknown) => this.#end(stream, error instanceof Error ? error.message : String(error)));
  }

  /** From the server: the reader has gone. */
  close(stream: number): void {
    const console = this.#open.get(stream);
    this.#open.delete(stream);
    console?.bytes.close();
  }

  drained(): void {
    for (const go of this.#waiting.splice(0)) go();
  }

  /** The connection to the server is gone, and every reader with it. */
  closeAll(): void {
    for (const stream of [...this.#open.keys()]) this.close(stream);
    this.drained();
  }

  async #pump(stream: number, console: Console): Promise<void> {
    const { send } = this.#options;
    try {
      for (let piece = await console.bytes.read(); piece !== undefined; piece = await console.bytes.read()) {
        if (this.#open.get(stream) !== console) return;
        if (!send(stream, piece)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
      this.#end(stream, undefined);
    } catch (error) {
      this.#end(stream, error instanceof Error ? error.message : String(error));
    }
  }

  #end(stream: number, reason: string | undefined): void {
    if (!this.#open.has(stream)) return;
    this.close(stream);
    this.#options.logger.debug({ stream, reason }, "a console has ended");
    this.#options.ended(stream, reason);
  }
}
