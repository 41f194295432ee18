/** Storage pools and volumes, said shortly. Sizes in bytes. */
import type { Caller, CallOptions } from "./calls.ts";
import type { StoragePoolReference, StorageVolumeReference } from "./structures.ts";

export function storagePoolCalls({ call }: Pick<Caller, "call">) {
  return {
    list: async (flags = 0, options?: CallOptions) => (await call("connectListAllStoragePools", { needResults: true, flags }, options)).pools,
    lookupByName: async (name: string, options?: CallOptions) => (await call("storagePoolLookupByName", { name }, options)).pool,
    lookupByUuid: async (uuid: string, options?: CallOptions) => (await call("storagePoolLookupByUuid", { uuid }, options)).pool,
    lookupByTargetPath: async (path: string, options?: CallOptions) => (await call("storagePoolLookupByTargetPath", { path }, options)).pool,
    define: async (xml: string, flags = 0, options?: CallOptions) => (await call("storagePoolDefineXml", { xml, flags }, options)).pool,
    undefine: async (pool: StoragePoolReference, options?: CallOptions) => void (await call("storagePoolUndefine", { pool }, options)),
    /** Makes the directory, file system or volume group the pool needs. */
    build: async (pool: StoragePoolReference, flags = 0, options?: CallOptions) => void (await call("storagePoolBuild", { pool, flags }, options)),
    /** Activates it. */
    create: async (pool: StoragePoolReference, flags = 0, options?: CallOptions) => void (await call("storagePoolCreate", { pool, flags }, options)),
    createTransient: async (xml: string, flags = 0, options?: CallOptions) => (await call("storagePoolCreateXml", { xml, flags }, options)).pool,
    /** Deactivates it; nothing is deleted. */
    destroy: async (pool: StoragePoolReference, options?: CallOptions) => void (await call("storagePoolDestroy", { pool }, options)),
    /** Deletes what `build` made. */
    delete: async (pool: StoragePoolReference, flags = 0, options?: CallOptions) => void (await call("storagePoolDelete", { pool, flags }, options)),
    /** Looks at the storage again: needed after files were made behind libvirt's back. */
    refresh: async (pool: StoragePoolReference, options?: CallOptions) => void (await call("storagePoolRefresh", { pool, flags: 0 }, options)),
    getInfo: (pool: StoragePoolReference, options?: CallOptions) => call("storagePoolGetInfo", { pool }, options),
    getXml: async (pool: StoragePoolReference, flags = 0, options?: CallOptions) =>
      (await call("storagePoolGetXmlDesc", { pool, flags }, options)).xml,
    setAutostart: async (pool: StoragePoolReference, autostart: boolean, options?: CallOptions) =>
      void (await call("storagePoolSetAutostart", { pool, autostart }, options)),
    isActive: async (pool: StoragePoolReference, options?: CallOptions) => (await call("storagePoolIsActive", { pool }, options)).active,
    volumes: async (pool: StoragePoolReference, options?: CallOptions) =>
      (await call("storagePoolListAllVolumes", { pool, needResults: true, flags: 0 }, options)).volumes,
  };
}

export function volumeCalls({ call, openStream }: Caller) {
  return {
    lookupByName: async (pool: StoragePoolReference, name: string, options?: CallOptions) =>
      (await call("storageVolLookupByName", { pool, name }, options)).volume,
    lookupByPath: async (path: string, options?: CallOptions) => (await call("storageVolLookupByPath", { path }, options)).volume,
    lookupByKey: async (key: string, options?: CallOptions) => (await call("storageVolLookupByKey", { key }, options)).volume,
    create: async (pool: StoragePoolReference, xml: string, flags = 0, options?: CallOptions) =>
      (await call("storageVolCreateXml", { pool, xml, flags }, options)).volume,
    /** A full copy of `source`, which may be in another pool. */
    clone: async (pool: StoragePoolReference, xml: string, source: StorageVolumeReference, flags = 0, options?: CallOptions) =>
      (await call("storageVolCreateXmlFrom", { pool, xml, source, flags }, options)).volume,
    delete: async (volume: StorageVolumeReference, flags = 0, options?: CallOptions) =>
      void (await call("storageVolDelete", { volume, flags }, options)),
    resize: async (volume: StorageVolumeReference, capacityBytes: number, flags = 0, options?: CallOptions) =>
      void (await call("storageVolResize", { volume, capacity: capacityBytes, flags }, options)),
    /** Overwrites it, by default with zeros (`WipeAlgorithm`). */
    wipe: async (volume: StorageVolumeReference, algorithm = 0, options?: CallOptions) =>
      void (await call("storageVolWipePattern", { volume, algorithm, flags: 0 }, options)),
    getInfo: (volume: StorageVolumeReference, options?: CallOptions) => call("storageVolGetInfo", { volume }, options),
    getXml: async (volume: StorageVolumeReference, options?: CallOptions) => (await call("storageVolGetXmlDesc", { volume, flags: 0 }, options)).xml,
    getPath: async (volume: StorageVolumeReference, options?: CallOptions) => (await call("storageVolGetPath", { volume }, options)).path,

    /** Writes `source` into the volume. Resolves when the daemon has confirmed all of it; an error in `source` breaks it off. */
    upload: async (
      volume: StorageVolumeReference,
      source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
      { offset = 0, length = 0, flags = 0 }: { offset?: number; length?: number; flags?: number } = {},
      options?: CallOptions,
    ): Promise<void> => {
      const { stream } = await openStream("storageVolUpload", { volume, offset, length, flags }, options);
      try {
        for await (const chunk of source) await stream.write(chunk);
        await stream.finish();
      } finally {
        stream.abort();
      }
    },

    /** The volume's pieces; with `VolumeStreamFlag.sparse` holes come as such. Read to the end, or leave the loop to break it off. */
    download: async (
      volume: StorageVolumeReference,
      { offset = 0, length = 0, flags = 0 }: { offset?: number; length?: number; flags?: number } = {},
      options?: CallOptions,
    ) => (await openStream("storageVolDownload", { volume, offset, length, flags }, options)).stream,
  };
}
