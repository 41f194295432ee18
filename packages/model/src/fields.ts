/** Field schemas that several nouns share. Limits are part of the product: nothing a person can type is unbounded. */
import { z } from "zod";

/** RFC 1123 label: letters, digits, hyphens; at most 63. Unique in its project (or site). */
export const Name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "must be 1–63 characters: small letters, digits and inner hyphens (a DNS label)");
export const DisplayName = z
  .string()
  .max(200)
  .regex(/^[^\p{Cc}]*$/u, "must not hold control characters");
/** Ids that Sheaf gives are UUIDs of version 7. An adopted machine keeps its domain's UUID, of whatever version: by it libvirt and its agent know it. */
export const idPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
export const RecordId = z.string().regex(idPattern, "must be a UUID in small letters");
/** A name or an id, where a request may refer to another record either way. The server stores the id. */
export const Reference = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9][a-z0-9-]*$/, "must be a record's name or id");
export const LabelKey = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, "must be 1–63 letters, digits, and inner . _ / -");
export const LabelValue = z
  .string()
  .regex(/^([A-Za-z0-9]([A-Za-z0-9._ -]{0,61}[A-Za-z0-9])?)?$/, "must be at most 63 letters, digits, and inner . _ - and spaces");
export const Labels = z.record(LabelKey, LabelValue).refine((labels) => Object.keys(labels).length <= 64, "at most 64 labels");
export type Labels = z.infer<typeof Labels>;

/** Bytes; up to 8 PiB, so that sums stay exact. */
export const Bytes = z
  .int()
  .min(0)
  .max(2 ** 53 - 1);
export const Timestamp = z.int().min(0);
/** `52:54:00:…`: locally chosen MACs are unicast. */
export const MacAddress = z
  .string()
  .regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/, "must be a unicast MAC address in small letters: 52:54:00:12:34:56");
export const IpAddress = z.union([z.ipv4(), z.ipv6()]);
export const IpPrefix = z.union([z.cidrv4(), z.cidrv6()]);
/** Absolute, normalised, printable; goes into files and XML, never into a shell. */
export const AbsolutePath = z
  .string()
  .max(512)
  .regex(/^\/[A-Za-z0-9._@+-]+(\/[A-Za-z0-9._@+-]+)*$/, "must be an absolute path of letters, digits and . _ @ + -")
  .refine((path) => !path.split("/").includes(".."), "must not hold ..");
/** Linux interface names: at most 15 characters. */
export const InterfaceName = z
  .string()
  .regex(/^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$/, "must be a Linux interface name: a letter, then at most 14 letters, digits, . _ -");
/** `region/zone/rack`, each optional from the right. */
export const FailureDomain = z
  .string()
  .max(200)
  .regex(/^([a-z0-9-]{1,63}(\/[a-z0-9-]{1,63}){0,2})?$/, "must be region, region/zone or region/zone/rack");
