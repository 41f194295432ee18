/** The pools and the network that a first start makes, through the API like anyone. What is there already is left as it is. */
import { SheafError } from "@sheaf/model";
import type { LocalClient } from "./local-client.ts";

export interface FirstRecords {
  readonly localPool: string;
  readonly sharedPool?: string;
  readonly bridge: string;
  /** `10.1.2`: the machine is .1, guests are from .100 to .250. */
  readonly subnet: string;
}

export async function ensureFirstRecords(client: LocalClient, wanted: FirstRecords): Promise<void> {
  const { bridge, localPool, sharedPool, subnet } = wanted;
  await unlessThere(() =>
    client.pool.create({ body: { name: "local", labels: { "sheaf/default": "true" }, spec: { type: "local", path: localPool } } }),
  );
  if (sharedPool !== undefined) await unlessThere(() => client.pool.create({ body: { name: "shared", spec: { type: "shared", path: sharedPool } } }));
  const subnets = [{ cidr: `${subnet}.0/24`, gateway: `${subnet}.1`, range: { from: `${subnet}.100`, to: `${subnet}.250` } }];
  await unlessThere(() => client.network.create({ body: { name: "default", spec: { bridge, subnets, public: true } } }));
}

async function unlessThere(create: () => Promise<unknown>): Promise<void> {
  try {
    await create();
  } catch (error) {
    if (!(error instanceof SheafError && error.code === "name-taken")) throw error;
  }
}
