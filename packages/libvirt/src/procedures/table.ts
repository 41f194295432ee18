/** The whole table, from its parts: the client's types, the wire client and the fake server are all made from it. */
import { connectionProcedures } from "./connection.ts";
import { domainDiskProcedures } from "./domain-disks.ts";
import { domainResourceProcedures } from "./domain-resources.ts";
import { domainProcedures } from "./domain.ts";
import { eventProcedures } from "./events.ts";
import { migrationProcedures } from "./migration.ts";
import { networkProcedures } from "./network.ts";
import { nodeDeviceProcedures } from "./node-device.ts";
import { nodeProcedures } from "./node.ts";
import { type Procedure, QEMU_PROGRAM, REMOTE_PROGRAM, table } from "./procedure.ts";
import { qemuProcedures } from "./qemu.ts";
import { secretProcedures } from "./secret.ts";
import { storageProcedures } from "./storage.ts";

export const procedures = {
  ...table(REMOTE_PROGRAM, connectionProcedures),
  ...table(REMOTE_PROGRAM, nodeProcedures),
  ...table(REMOTE_PROGRAM, domainProcedures),
  ...table(REMOTE_PROGRAM, domainResourceProcedures),
  ...table(REMOTE_PROGRAM, domainDiskProcedures),
  ...table(REMOTE_PROGRAM, migrationProcedures),
  ...table(REMOTE_PROGRAM, storageProcedures),
  ...table(REMOTE_PROGRAM, networkProcedures),
  ...table(REMOTE_PROGRAM, secretProcedures),
  ...table(REMOTE_PROGRAM, nodeDeviceProcedures),
  ...table(REMOTE_PROGRAM, eventProcedures),
  ...table(QEMU_PROGRAM, qemuProcedures),
} as const;

export type ProcedureName = keyof typeof procedures;
export type Arguments<N extends ProcedureName> = (typeof procedures)[N] extends Procedure<infer A, infer _R> ? A : never;
export type Reply<N extends ProcedureName> = (typeof procedures)[N] extends Procedure<infer _A, infer R> ? R : never;
