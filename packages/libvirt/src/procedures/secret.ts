/** Secrets: passphrases and keys that libvirt keeps for disks, storage, TLS and TPMs. */
import { flag, int, list, opaque, string, uint } from "../codec.ts";
import { secret, uuid } from "../structures.ts";
import { define, MAX_ITEMS } from "./procedure.ts";

export const secretProcedures = {
  connectListAllSecrets: define(287, { needResults: flag, flags: uint }, { secrets: list(secret, MAX_ITEMS), count: uint }),
  connectNumOfSecrets: define(139, {}, { count: int }),
  connectListSecrets: define(140, { maxUuids: int }, { uuids: list(string, MAX_ITEMS) }),
  secretLookupByUuid: define(141, { uuid }, { secret }),
  secretLookupByUsage: define(147, { usageType: int, usageId: string }, { secret }),
  secretDefineXml: define(142, { xml: string, flags: uint }, { secret }),
  secretGetXmlDesc: define(143, { secret, flags: uint }, { xml: string }),
  secretSetValue: define(144, { secret, value: opaque(65_536), flags: uint }, {}),
  secretGetValue: define(145, { secret, flags: uint }, { value: opaque(65_536) }),
  secretUndefine: define(146, { secret }, {}),
} as const;
