/** Places in one real etcd for the store's tests: each test gets an empty one, and leaves nothing. Called by `etcd*.lab.test.ts`. */
import type { EtcdCluster } from "@sheaf/lab";
import { SystemClock, systemRandom } from "@sheaf/adapters";
import { openEtcdStore } from "../etcd.ts";
import type { EtcdStore, EtcdStoreOptions } from "../etcd.ts";

let places = 0;

export async function openPlace(cluster: EtcdCluster, options: Partial<EtcdStoreOptions> = {}) {
  const prefix = options.prefix ?? `place-${(places += 1)}/`;
  const open = (more: Partial<EtcdStoreOptions> = {}): Promise<EtcdStore> =>
    openEtcdStore({ endpoints: cluster.endpoints, prefix, clock: new SystemClock(), random: systemRandom, ...options, ...more });
  const store = await open();
  return {
    store,
    prefix,
    again: open,
    dispose: async (): Promise<void> => {
      await store.close();
      await cluster.control("del", "--prefix", prefix);
    },
  };
}
