/**
 * A record as one host's agent is given it: secrets in the clear for the machines that are its, and of other hosts' reports nothing.
 * Called by the gateway when it sends; the result is never kept.
 */
import type { Logger } from "@sheaf/base";
import type { AgentDocument } from "@sheaf/contract";
import type { Kind, RecordOf } from "@sheaf/model";
import { isSealed } from "../authority/secrets.ts";
import type { Secrets } from "../context.ts";

export function agentDocument(record: RecordOf<Kind>, hostId: string, secrets: Secrets, logger: Logger): AgentDocument {
  // The casts follow `kind`, which says what the record is.
  if (record.kind === "vm") return withSecrets(record as RecordOf<"vm">, secrets, logger) as AgentDocument;
  // How its power is cut is no business of the host; that it is to fence itself is.
  if (record.kind === "host") {
    const { spec } = record as RecordOf<"host">;
    return { ...record, spec: { ...spec, fencing: spec.fencing.filter(({ type }) => type === "watchdog") } } as AgentDocument;
  }
  const status = record.status as Record<string, unknown>;
  const { hosts } = status;
  if (typeof hosts !== "object" || hosts === null) return record as AgentDocument;
  const own = (hosts as Record<string, unknown>)[hostId];
  return { ...record, status: { ...status, hosts: own === undefined ? {} : { [hostId]: own } } } as AgentDocument;
}

function withSecrets(vm: RecordOf<"vm">, secrets: Secrets, logger: Logger): RecordOf<"vm"> {
  const { userData, password, ...open } = vm.spec.cloudInit;
  if (userData === undefined && password === undefined) return vm;
  const unseal = (text: string | undefined, name: string): Record<string, string> => {
    if (text === undefined) return {};
    try {
      return { [name]: isSealed(text) ? secrets.open(text) : text };
    } catch (error) {
      // The guest starts without it, rather than not at all or with scrambled data.
      logger.error({ vm: vm.id, field: name, error: String(error) }, "a machine's secret cannot be opened; its host is given the machine without it");
      return {};
    }
  };
  return { ...vm, spec: { ...vm.spec, cloudInit: { ...open, ...unseal(userData, "userData"), ...unseal(password, "password") } } };
}
