/** The QEMU program: the monitor and the guest agent, for what libvirt has no call of its own. */
import { int, nullable, signedSize, string, struct, uint } from "../codec.ts";
import { domain } from "../structures.ts";
import { define } from "./procedure.ts";

export const qemuProcedures = {
  /** `flags`: 1 for the human monitor. Using it marks the domain as tainted. */
  qemuDomainMonitorCommand: define(1, { domain, command: string, flags: uint }, { result: string }, { long: true }),
  qemuDomainAttach: define(2, { pid: uint, flags: uint }, { domain }),
  /** `timeout` in seconds; -2 waits for ever, -1 the default, 0 does not wait. */
  qemuDomainAgentCommand: define(3, { domain, command: string, timeout: int, flags: uint }, { result: nullable(string) }, { long: true }),
  qemuConnectDomainMonitorEventRegister: define(4, { domain: nullable(domain), event: nullable(string), flags: uint }, { callback: int }),
  qemuConnectDomainMonitorEventDeregister: define(5, { callback: int }, {}),
} as const;

/** QEMU_PROC_DOMAIN_MONITOR_EVENT: a QMP event, passed on. */
export const QEMU_MONITOR_EVENT_MESSAGE = 6;
export const qemuMonitorEvent = struct({
  callback: int,
  domain,
  event: string,
  seconds: signedSize,
  microseconds: uint,
  details: nullable(string),
});
