/** Which chains there are in the store, oldest first. Their names are UUIDs of version 7, so keys sort by time. Called by reading and verification. */
import { auditPrefix } from "@sheaf/model";
import type { Store } from "@sheaf/store";

const nameLength = 36;

export async function auditChains(store: Store, revision: number): Promise<string[]> {
  const chains: string[] = [];
  let after: string | undefined;
  for (;;) {
    const { entries } = await store.range({ prefix: auditPrefix, limit: 1, revision, ...(after === undefined ? {} : { after }) });
    const key = entries[0]?.key;
    if (key === undefined) return chains;
    const chain = /^a\/([0-9a-f-]{36})\//.exec(key)?.[1];
    if (chain === undefined) {
      after = key; // the pointer to the newest chain
      continue;
    }
    chains.push(chain);
    after = `${auditPrefix}${chain.slice(0, nameLength)}/~`; // behind every key of this chain
  }
}
