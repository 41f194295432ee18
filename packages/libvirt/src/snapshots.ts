/** A domain's snapshots and checkpoints, said shortly. */
import type { Caller, CallOptions } from "./calls.ts";
import { type DomainHandle, domainReference as ref } from "./domains.ts";
import type { CheckpointReference, SnapshotReference } from "./structures.ts";

export function snapshotCalls({ call }: Pick<Caller, "call">) {
  return {
    create: async (domain: DomainHandle, xml: string, flags = 0, options?: CallOptions) =>
      (await call("domainSnapshotCreateXml", { domain: ref(domain), xml, flags }, options)).snapshot,
    list: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      (await call("domainListAllSnapshots", { domain: ref(domain), needResults: true, flags }, options)).snapshots,
    lookupByName: async (domain: DomainHandle, name: string, options?: CallOptions) =>
      (await call("domainSnapshotLookupByName", { domain: ref(domain), name, flags: 0 }, options)).snapshot,
    /** `null`: none of them is current. */
    current: async (domain: DomainHandle, options?: CallOptions) =>
      (await call("domainHasCurrentSnapshot", { domain: ref(domain), flags: 0 }, options)).exists
        ? (await call("domainSnapshotCurrent", { domain: ref(domain), flags: 0 }, options)).snapshot
        : null,
    getXml: async (snapshot: SnapshotReference, flags = 0, options?: CallOptions) =>
      (await call("domainSnapshotGetXmlDesc", { snapshot, flags }, options)).xml,
    revert: async (snapshot: SnapshotReference, flags = 0, options?: CallOptions) =>
      void (await call("domainRevertToSnapshot", { snapshot, flags }, options)),
    delete: async (snapshot: SnapshotReference, flags = 0, options?: CallOptions) =>
      void (await call("domainSnapshotDelete", { snapshot, flags }, options)),
  };
}

export function checkpointCalls({ call }: Pick<Caller, "call">) {
  return {
    create: async (domain: DomainHandle, xml: string, flags = 0, options?: CallOptions) =>
      (await call("domainCheckpointCreateXml", { domain: ref(domain), xml, flags }, options)).checkpoint,
    list: async (domain: DomainHandle, flags = 0, options?: CallOptions) =>
      (await call("domainListAllCheckpoints", { domain: ref(domain), needResults: true, flags }, options)).checkpoints,
    lookupByName: async (domain: DomainHandle, name: string, options?: CallOptions) =>
      (await call("domainCheckpointLookupByName", { domain: ref(domain), name, flags: 0 }, options)).checkpoint,
    getXml: async (checkpoint: CheckpointReference, flags = 0, options?: CallOptions) =>
      (await call("domainCheckpointGetXmlDesc", { checkpoint, flags }, options)).xml,
    delete: async (checkpoint: CheckpointReference, flags = 0, options?: CallOptions) =>
      void (await call("domainCheckpointDelete", { checkpoint, flags }, options)),
  };
}
