/** Identifiers (UUIDs) as the 16 bytes that they are in files. */
export const identifierBytes = 16;

export const bytesOfIdentifier = (id: string): Uint8Array => Buffer.from(id.replaceAll("-", ""), "hex");

export function identifierOf(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, identifierBytes).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
