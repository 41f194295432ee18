/** An image: what disks are cloned from, or what is inserted as a CD-ROM. Parts: `spec` users · `status/library` the server's image library · `status/hosts/<hostId>` copies in the hosts' caches. */
import { z } from "zod";
import { Bytes, Timestamp } from "./fields.ts";

export const imageFormats = ["qcow2", "raw", "vmdk", "vdi", "vhdx", "iso"] as const;

/** Everybody who may see the image sees it, so it holds no user and password. */
const ImageUrl = z
  .url({ protocol: /^https?$/ })
  .max(2048)
  .refine((url) => !/^https?:\/\/[^/?#]*@/i.test(url), "must not hold a user or password: give an address that works without, or upload the file");

export const ImageSpec = z.strictObject({
  source: z.union([
    z.strictObject({ url: ImageUrl }),
    /** Bytes come by `PUT /images/:id/content`, resumable. */
    z.strictObject({ upload: z.literal(true) }),
  ]),
  /** `sha256:<hex>` of the file as it is fetched or uploaded. */
  checksum: z
    .string()
    .regex(/^sha(256|512):[0-9a-f]{64,128}$/, "must be sha256:<hex> or sha512:<hex>")
    .optional(),
  /** Absent: told from the content. */
  format: z.enum(imageFormats).optional(),
  type: z.enum(["disk", "iso"]).default("disk"),
  operatingSystem: z.enum(["linux", "windows", "other"]).default("linux"),
  firmware: z.enum(["bios", "uefi", "any"]).default("any"),
  minimumMemoryBytes: Bytes.default(0),
  /** Seen and usable by every project. */
  public: z.boolean().default(false),
  protected: z.boolean().default(false),
});
export type ImageSpec = z.infer<typeof ImageSpec>;

export const ImageLibraryStatus = z.looseObject({
  state: z.enum(["waiting", "receiving", "checking", "ready", "failed"]),
  receivedBytes: Bytes,
  totalBytes: Bytes.optional(),
  /** Set when ready: what hosts fetch. */
  format: z.enum(["qcow2", "raw", "iso"]).optional(),
  virtualSizeBytes: Bytes.optional(),
  fileBytes: Bytes.optional(),
  /** sha256 of the prepared file; names it in every cache. */
  digest: z.string().optional(),
  problem: z.string().optional(),
  /** Of the closed list of problems. */
  code: z.string().optional(),
  at: Timestamp,
});
export type ImageLibraryStatus = z.infer<typeof ImageLibraryStatus>;
export const ImageOnHost = z.looseObject({ state: z.enum(["fetching", "ready", "failed"]), receivedBytes: Bytes, problem: z.string().optional() });
export interface ImageStatus {
  readonly library?: ImageLibraryStatus;
  readonly hosts?: Readonly<Record<string, z.infer<typeof ImageOnHost>>>;
}
