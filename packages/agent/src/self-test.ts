/**
 * What an agent tries of itself before it takes another version's place on a host: it has started and understood its command line; it
 * reads who the host is, and all that the present agent keeps; the hypervisor answers. Writes nothing, and says nothing to the server.
 */
import { type Clock, type Logger, sleep } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import { readIdentity } from "./certificates.ts";
import { KeptState } from "./kept-state.ts";
import type { Files, Hypervisor } from "./ports.ts";

export interface SelfTestPorts {
  readonly clock: Clock;
  readonly files: Files;
  readonly logger: Logger;
  readonly hypervisor: Hypervisor;
}

const hypervisorWithinMs = 20_000;
const lookMs = 100;

/** @throws Error with what does not work, for people */
export async function selfTest(ports: SelfTestPorts, dataDirectory: string): Promise<void> {
  const files = readOnly(ports.files);
  if (!(await readIdentity(files, dataDirectory))) throw new SheafError("state-refused", `who this host is cannot be read in ${dataDirectory}`);
  await KeptState.open({ files, logger: ports.logger, directory: dataDirectory });
  // It is dialled in the background.
  for (const end = ports.clock.monotonic() + hypervisorWithinMs; ; await sleep(ports.clock, lookMs)) {
    try {
      return void (await ports.hypervisor.domains());
    } catch (error) {
      if (ports.clock.monotonic() >= end) throw error;
    }
  }
}

/** What is damaged would be set aside and written anew: that is the running agent's. */
function readOnly(files: Files): Files {
  const refuse = (path: string): Promise<never> =>
    Promise.reject(new SheafError("state-refused", `this version cannot take over what the agent keeps: it would change ${path}`));
  return {
    readText: (path) => files.readText(path),
    read: (path) => files.read(path),
    list: (path) => files.list(path),
    facts: (path) => files.facts(path),
    stream: (path) => files.stream(path),
    space: (path) => files.space(path),
    readLink: (path) => files.readLink(path),
    writeAtomic: refuse,
    rename: refuse,
    syncFile: refuse,
    remove: refuse,
    writer: refuse,
    makeDirectory: async (path) => {
      if (!(await files.facts(path))) await refuse(path);
    },
  };
}
