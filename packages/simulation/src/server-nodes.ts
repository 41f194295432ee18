/** Names of the servers in the simulated network, and where agents and other servers reach them. */
export const serverNode = "server";

/** @param index from 0 */
export const serverNodeAt = (index: number): string => (index === 0 ? serverNode : `${serverNode}-${index + 1}`);
export const isServerNode = (node: string): boolean => node.startsWith(serverNode);

export const agentUrlOf = (node: string): string => `https://${node}:7444`;
export const nodeOf = (agentUrl: string): string => new URL(agentUrl).hostname;
