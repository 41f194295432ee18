/** Where things lie on a host. Only this file knows; ids, digests and pools' paths are checked where they enter Sheaf. */
import type { RecordOf } from "@sheaf/model";
import { SheafError } from "@sheaf/model";

export function volumePath(pool: RecordOf<"pool">, volume: RecordOf<"volume">): string {
  return `${pool.spec.path}/${volume.spec.file ?? `volumes/${volume.id}.${volume.spec.format}`}`;
}

/** @throws SheafError `state-refused` while the library has not prepared it */
export function imagePath(poolPath: string, image: RecordOf<"image">): string {
  const { digest, format } = image.status.library ?? {};
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest ?? "")?.[1];
  if (hex === undefined || format === undefined)
    throw new SheafError("state-refused", `image ${image.name} is not ready in the library: wait until it is`);
  return `${poolPath}/images/${hex}.${format}`;
}

/**
 * Files of guests that stand in their definitions: the same path on every host, wherever its agent keeps its data, because a guest that
 * moves finds its own there.
 */
export const guestFilesDirectory = "/var/lib/sheaf/guests";
export const seedPath = (machineId: string): string => `${guestFilesDirectory}/seeds/${machineId}.iso`;
export const nvramPath = (machineId: string): string => `${guestFilesDirectory}/nvram/${machineId}.fd`;
