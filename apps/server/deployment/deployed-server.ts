/** The server of a deployment and a client that is signed in to it: what this machine, lab hosts and a simulated data centre have in common. */
import { localClient, type LocalClient } from "./local-client.ts";
import { startServerProcess, type ServerOptions, type ServerProcess } from "./server-process.ts";

export abstract class DeployedServer {
  #server: ServerProcess | undefined;
  #client: LocalClient | undefined;

  get server(): ServerProcess {
    if (!this.#server) throw new Error("The server is not started.");
    return this.#server;
  }
  get client(): LocalClient {
    if (!this.#client) throw new Error("The server is not started.");
    return this.#client;
  }

  /** After one that was killed, another; clients of the first go on being used. @throws Error where it does not answer; then it is gone */
  protected async serve(options: ServerOptions): Promise<void> {
    this.#server = await startServerProcess(options);
    this.#client = await localClient(options.dataDirectory, this.#server);
  }

  protected async endServer(): Promise<void> {
    await this.#server?.stop().catch(() => {});
    this.#server = undefined;
    this.#client?.close();
  }
}
