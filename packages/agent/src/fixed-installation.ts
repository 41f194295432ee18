/** An agent that no other version can take the place of by its server's order: from source files, or without the start script. */
import { SheafError } from "@sheaf/model";
import type { Installation } from "./ports.ts";

/** @param why for people, with what to do instead */
export function fixedInstallation(why: string, known: { readonly platform: string; readonly archive?: string | undefined }): Installation {
  const refuse = (): Promise<never> => Promise.reject(new SheafError("state-refused", why));
  return {
    platform: known.platform,
    archive: known.archive,
    fixed: why,
    onTrial: () => Promise.resolve(false),
    givenUp: () => Promise.resolve(null),
    fetch: refuse,
    prepare: refuse,
    switchTo: refuse,
    prove: () => Promise.resolve(),
    restart: () => {},
  };
}
