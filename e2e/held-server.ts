/** The other end of `holding-server.ts`: sees every step of a migration before and after it is persisted, and says when it goes on. */
import { join } from "node:path";
import type { ServerProgram } from "../apps/server/deployment/server-process.ts";
import type { Halt } from "./holding-server.ts";

/** Does what is due while the server stands still. */
export type AtHalt = (halt: Halt) => Promise<void>;

export class HeldServer {
  /** Called one halt after the other, over all servers of a site's life; the server goes on when it has ended. */
  atHalt: AtHalt = async () => {};
  /** Why the work at a halt failed, for whoever waits for its effect. */
  failure: unknown;
  #last: Promise<void> = Promise.resolve();

  get program(): ServerProgram {
    return {
      path: join(import.meta.dirname, "holding-server.ts"),
      said: (message, answer) => {
        const halt = message as Halt; // what holding-server.ts sends
        this.#last = this.#last
          .then(() => this.atHalt(halt))
          .catch((error: unknown) => {
            this.failure = error;
          })
          .then(() => answer({ goOn: halt.halt }));
      },
    };
  }
}
