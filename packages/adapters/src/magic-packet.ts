/**
 * Wake-on-LAN: a magic packet (AMD publication 20213: six bytes ff, then the card's address sixteen times) in a UDP datagram that is broadcast.
 * Nobody answers one. Used by servers and agents.
 */
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";

export interface MagicPacket {
  /** `52:54:00:00:00:01` */
  readonly mac: string;
  readonly port: number;
  /** Absent: the broadcast address of each of this machine's IPv4 networks. */
  readonly broadcastAddress?: string;
}

/** Sent so often: a card may miss one while its link comes up. */
const copies = 3;

/** @returns where it went @throws Error where it could be sent nowhere */
export async function sendMagicPacket({ mac, port, broadcastAddress }: MagicPacket): Promise<readonly string[]> {
  const targets = broadcastAddress === undefined ? broadcastAddresses() : [broadcastAddress];
  if (targets.length === 0) throw new Error("this machine is on no IPv4 network");
  const packet = magicPacket(mac);
  const sent: string[] = [];
  const failures: string[] = [];
  for (const target of targets) {
    try {
      await send(packet, port, target);
      sent.push(target);
    } catch (error) {
      failures.push(`${target}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (sent.length === 0) throw new Error(failures.join("; "));
  return sent;
}

export function magicPacket(mac: string): Uint8Array {
  const card = mac.split(":").map((part) => Number.parseInt(part, 16));
  return Uint8Array.from([...new Array<number>(6).fill(0xff), ...Array.from({ length: 16 }, () => card).flat()]);
}

/** Of this machine's networks: the address with all bits of the host part set. */
function broadcastAddresses(): string[] {
  const found = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const own = found.filter((each) => each.family === "IPv4" && !each.internal);
  return [...new Set(own.map(({ address, netmask }) => lastOf(address, netmask)))];
}

function lastOf(address: string, netmask: string): string {
  const mask = netmask.split(".").map(Number);
  return address
    .split(".")
    .map((part, at) => Number(part) | (~(mask[at] ?? 0) & 0xff))
    .join(".");
}

function send(packet: Uint8Array, port: number, target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(target.includes(":") ? "udp6" : "udp4");
    const end = (error: Error | null): void => {
      socket.close();
      if (error) reject(error);
      else resolve();
    };
    socket.once("error", end);
    socket.bind(0, () => {
      if (!target.includes(":")) socket.setBroadcast(true);
      let left = copies;
      const one = (): void => socket.send(packet, port, target, (error) => (error || --left === 0 ? end(error) : one()));
      one();
    });
  });
}
