/**
 * Names of the library's files. `.part` and `.fetched` outlive a restart (a download goes on, an upload is resumed); `.unpacked` and
 * `.prepared` are work under way and are thrown away at the start. Everything else begins with a ready image's id.
 */
export interface ImagePaths {
  /** Being fetched or uploaded. */
  readonly part: string;
  /** Where the part comes from, to resume it. */
  readonly partSource: string;
  /** Whole as fetched, not yet checked. */
  readonly fetched: string;
  readonly unpacked: string;
  readonly prepared: string;
  readonly qcow2: string;
  readonly iso: string;
  /** What is known of the file under its final name; written before that name is given. */
  readonly facts: string;
}

/** @param imageId a record's id: lower-case hexadecimal digits and hyphens, never text that a person typed */
export function imagePaths(directory: string, imageId: string): ImagePaths {
  const path = (ending: string): string => `${directory}/${imageId}.${ending}`;
  return {
    part: path("part"),
    partSource: path("part.json"),
    fetched: path("fetched"),
    unpacked: path("unpacked"),
    prepared: path("prepared"),
    qcow2: path("qcow2"),
    iso: path("iso"),
    facts: path("facts.json"),
  };
}

export const workEndings = [".unpacked", ".prepared", ".new"] as const;
export const unfinishedEndings = [".part", ".part.json", ".fetched"] as const;

/** @returns the image's id of one of the library's own file names; `null` for any other file. */
export function imageIdOf(name: string): string | null {
  return /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[a-z0-9.]+$/.exec(name)?.[1] ?? null;
}
