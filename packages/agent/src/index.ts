export { startAgent } from "./agent.ts";
export type { Agent, AgentOptions } from "./agent.ts";
export { fits, makeCertificateRequest, readIdentity, writeIdentity, writeMigrationCertificates } from "./certificates.ts";
export { libvirtHypervisor } from "./libvirt-hypervisor.ts";
export type { LibvirtHypervisorOptions } from "./libvirt-hypervisor.ts";
export { planMachine } from "./plan-machine.ts";
export type { Plan, Situation, Step } from "./plan-machine.ts";
export * from "./ports.ts";
