/** Storage pools and volumes. Sizes in bytes. */
import { flag, int, list, nullable, size, string, uint } from "../codec.ts";
import { storagePool as pool, storageVolume as volume, uuid } from "../structures.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

const texts = list(string, MAX_ITEMS);
const long = { long: true } as const;
const volumeInfo = { type: int, capacity: size, allocation: size } as const;

export const storageProcedures = {
  connectListAllStoragePools: define(281, { needResults: flag, flags: uint }, { pools: list(pool, MAX_ITEMS), count: uint }),
  connectNumOfStoragePools: define(71, {}, { count: int }),
  connectListStoragePools: define(72, { maxNames: int }, { names: texts }),
  connectNumOfDefinedStoragePools: define(73, {}, { count: int }),
  connectListDefinedStoragePools: define(74, { maxNames: int }, { names: texts }),
  connectFindStoragePoolSources: define(75, { type: string, sourceSpec: nullable(string), flags: uint }, { xml: string }, long),
  storagePoolCreateXml: define(76, { xml: string, flags: uint }, { pool }, long),
  storagePoolDefineXml: define(77, { xml: string, flags: uint }, { pool }),
  storagePoolCreate: define(78, { pool, flags: uint }, {}, long),
  storagePoolBuild: define(79, { pool, flags: uint }, {}, long),
  storagePoolDestroy: define(80, { pool }, {}, long),
  storagePoolDelete: define(81, { pool, flags: uint }, {}, long),
  storagePoolUndefine: define(82, { pool }, {}),
  storagePoolRefresh: define(83, { pool, flags: uint }, {}, long),
  storagePoolLookupByName: define(84, { name: string }, { pool }),
  storagePoolLookupByUuid: define(85, { uuid }, { pool }),
  storagePoolLookupByVolume: define(86, { volume }, { pool }),
  storagePoolLookupByTargetPath: define(391, { path: string }, { pool }),
  storagePoolGetInfo: define(87, { pool }, { state: int, capacity: size, allocation: size, available: size }),
  storagePoolGetXmlDesc: define(88, { pool, flags: uint }, { xml: string }),
  storagePoolGetAutostart: define(89, { pool }, { autostart: flag }),
  storagePoolSetAutostart: define(90, { pool, autostart: flag }, {}),
  storagePoolNumOfVolumes: define(91, { pool }, { count: int }),
  storagePoolListVolumes: define(92, { pool, maxNames: int }, { names: texts }),
  storagePoolListAllVolumes: define(282, { pool, needResults: flag, flags: uint }, { volumes: list(volume, MAX_ITEMS), count: uint }),
  storagePoolIsActive: define(154, { pool }, { active: flag }),
  storagePoolIsPersistent: define(155, { pool }, { persistent: flag }),

  storageVolCreateXml: define(93, { pool, xml: string, flags: uint }, { volume }, long),
  storageVolCreateXmlFrom: define(125, { pool, xml: string, source: volume, flags: uint }, { volume }, long),
  storageVolDelete: define(94, { volume, flags: uint }, {}, long),
  storageVolWipe: define(165, { volume, flags: uint }, {}, long),
  storageVolWipePattern: define(259, { volume, algorithm: uint, flags: uint }, {}, long),
  storageVolResize: define(260, { volume, capacity: size, flags: uint }, {}, long),
  storageVolLookupByName: define(95, { pool, name: string }, { volume }),
  storageVolLookupByKey: define(96, { key: string }, { volume }),
  storageVolLookupByPath: define(97, { path: string }, { volume }),
  storageVolGetInfo: define(98, { volume }, volumeInfo),
  storageVolGetInfoFlags: define(378, { volume, flags: uint }, volumeInfo),
  storageVolGetXmlDesc: define(99, { volume, flags: uint }, { xml: string }),
  storageVolGetPath: define(100, { volume }, { path: string }),
  storageVolUpload: define(208, { volume, offset: size, length: size, flags: uint }, {}, { stream: "upload" }),
  storageVolDownload: define(209, { volume, offset: size, length: size, flags: uint }, {}, { stream: "download" }),
} as const;
