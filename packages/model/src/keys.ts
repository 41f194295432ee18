/** The layout of keys in the store. Only this file knows it; an agent's rights are rules about these prefixes. */
import type { Kind } from "./record.ts";

export const recordsPrefix = "r/";
export const kindPrefix = (kind: Kind): string => `r/${kind}/`;
export const recordPrefix = (kind: Kind, id: string): string => `r/${kind}/${id}/`;
/** `part` is `spec`, `placement`, `status/<writer>` or `status/hosts/<hostId>`. */
export const partKey = (kind: Kind, id: string, part: string): string => `r/${kind}/${id}/${part}`;

/** @returns `null` for a key that is no part of a record. */
export function parsePartKey(key: string): { kind: Kind; id: string; part: string } | null {
  const match = /^r\/([a-z]+)\/([0-9a-f-]{36})\/(.+)$/.exec(key);
  return match ? { kind: match[1] as Kind /* keys are written by this file alone */, id: match[2] ?? "", part: match[3] ?? "" } : null;
}

// Uniqueness: the key exists while the value is taken; its value is the id of the record that holds it.
/** `scope` is the project's id, or `-` for kinds above projects. */
export const nameKey = (kind: Kind, scope: string, name: string): string => `u/name/${kind}/${scope}/${name}`;
export const numberKey = (kind: "vm" | "image", number: number): string => `u/number/${kind}/${number}`;
/** A volume's file that was there before Sheaf (`spec.file`): no two volumes are one file. */
export const fileKey = (poolId: string, file: string): string => `u/file/${poolId}/${file}`;
export const macKey = (mac: string): string => `u/mac/${mac}`;
export const addressKey = (networkId: string, address: string): string => `u/address/${networkId}/${address}`;

export const idempotencyKey = (userId: string, key: string): string => `i/${userId}/${key}`;
/** `sequence` counts from 1 without a gap in its chain; each start of a server begins a chain. */
export const auditKey = (chain: string, sequence: number): string => `a/${chain}/e/${String(sequence).padStart(12, "0")}`;
export const auditSealKey = (chain: string, sequence: number): string => `a/${chain}/s/${String(sequence).padStart(12, "0")}`;
export const auditPrefix = "a/";
export const auditEntriesPrefix = (chain: string): string => `a/${chain}/e/`;
export const auditSealsPrefix = (chain: string): string => `a/${chain}/s/`;
/** How far a chain is sealed, and whose it is. Gone once the whole chain lies in files. */
export const auditHeadKey = (chain: string): string => `a/${chain}/head`;
/** The store's incarnation that the trail was last begun for: another one means that a backup was restored. */
export const auditIncarnationKey = "a/incarnation";
/** One key a sealed file: what is in it. `to` is the last sequence in the file. */
export const auditFilesPrefix = "af/";
export const auditFileKey = (chain: string, to: number): string => `af/${chain}/${String(to).padStart(12, "0")}`;
/** The life of the store (its incarnation) in which every host has been heard. */
export const restoredSiteKey = "o/settled";
/** Names the folder of image files that all servers share. */
export const libraryFolderKey = "o/library";
/** Accounts of availability: one a machine, and one a project for its machines that are gone. */
export const availabilityPrefix = "av/vm/";
export const projectAvailabilityPrefix = (projectId: string): string => `${availabilityPrefix}${projectId}/`;
export const availabilityKey = (projectId: string, vmId: string): string => `${projectAvailabilityPrefix(projectId)}${vmId}`;
export const goneAvailabilityKey = (projectId: string): string => `av/gone/${projectId}`;
/** Servers on this store: what each says of itself, and, held by its lease, that it is there. */
export const serverMembersPrefix = "m/server/";
export const serverMemberKey = (name: string): string => `m/server/${name}`;
export const serverPresencePrefix = "m/presence/";
export const serverPresenceKey = (name: string): string => `m/presence/${name}`;
/** Set anew with each connection of a host's agent where there are several servers: what an earlier connection told is written no more. */
export const attachmentKey = (hostId: string): string => `m/agent/${hostId}`;
export const leaderKey = (name: string): string => `leader/${name}`;
/** Usage counted against a project's quota, changed in the transaction that uses it. */
export const quotaUsageKey = (projectId: string): string => `q/${projectId}`;
export const sessionKey = (hash: string): string => `s/${hash}`;
export const secretKey = (owner: string, name: string): string => `x/${owner}/${name}`;
export const joinTokenKey = (hash: string): string => `j/${hash}`;
/** Certificates that are no longer taken: of a host altogether, or one by its serial number (hexadecimal, capitals). The value says when and why. */
export const revokedPrefix = "v/";
export const revokedHostKey = (hostId: string): string => `v/host/${hostId}`;
export const revokedSerialKey = (serial: string): string => `v/serial/${serial}`;
