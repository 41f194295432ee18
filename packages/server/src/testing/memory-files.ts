/** Files of the audit trail in memory. For tests alone. */
import type { AuditFiles } from "../audit/audit-source.ts";

export class MemoryFiles implements AuditFiles {
  readonly contents = new Map<string, Uint8Array>();

  async list(directory: string): Promise<string[]> {
    const prefix = `${directory}/`;
    return [...this.contents.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length))
      .sort();
  }
  async read(path: string): Promise<Uint8Array | null> {
    return this.contents.get(path) ?? null;
  }
  async writeAtomic(path: string, content: string): Promise<void> {
    this.contents.set(path, Buffer.from(content));
  }
  async makeDirectory(): Promise<void> {}
}
