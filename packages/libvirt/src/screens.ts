/** What a guest shows: screenshots and serial consoles, as streams. */
import type { Caller, CallOptions } from "./calls.ts";
import { type DomainHandle, domainReference as ref } from "./domains.ts";
import type { LibvirtStream } from "./stream.ts";

/** A screenshot is never larger than this; what comes beyond is an error. */
const MAX_SCREENSHOT_BYTES = 268_435_456;

export function screenCalls({ openStream }: Pick<Caller, "openStream">) {
  return {
    /** QEMU gives PNG or PPM; `mime` says which. */
    screenshot: async (
      domain: DomainHandle,
      screen = 0,
      options?: CallOptions,
    ): Promise<{ readonly mime: string | null; readonly image: Uint8Array }> => {
      const { reply, stream } = await openStream("domainScreenshot", { domain: ref(domain), screen, flags: 0 }, options);
      const chunks: Uint8Array[] = [];
      let total = 0;
      for await (const piece of stream) {
        const chunk = piece.kind === "data" ? piece.data : new Uint8Array(piece.lengthBytes);
        total += chunk.byteLength;
        if (total > MAX_SCREENSHOT_BYTES) throw new Error(`the screenshot is larger than ${MAX_SCREENSHOT_BYTES} bytes and was given up`);
        chunks.push(chunk);
      }
      return { mime: reply.mime, image: new Uint8Array(Buffer.concat(chunks)) };
    },
    /** Both ways. `device` null: the first console or serial port; `ConsoleFlag.force` takes it from another client. */
    openConsole: async (domain: DomainHandle, device: string | null = null, flags = 0, options?: CallOptions): Promise<LibvirtStream> =>
      (await openStream("domainOpenConsole", { domain: ref(domain), device, flags }, options)).stream,
    /** A virtio channel of the guest, by its name; null: the first. */
    openChannel: async (domain: DomainHandle, name: string | null = null, flags = 0, options?: CallOptions): Promise<LibvirtStream> =>
      (await openStream("domainOpenChannel", { domain: ref(domain), name, flags }, options)).stream,
  };
}
