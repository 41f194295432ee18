/**
 * Agents and their versions: how an agent lies on its host, which version its server carries, and whether the one may take the other's
 * place. The server goes first: an agent never becomes newer than the servers it may talk to.
 */
import { z } from "zod";
import { Timestamp } from "./fields.ts";

/**
 * `fetching`, `testing`, `waiting` (for migrations to end): the version before works on · `restarting`: the new one takes its place, or is on
 * trial · `done` · `failed`: the version before works on.
 */
export const upgradeStates = ["fetching", "testing", "waiting", "restarting", "done", "failed"] as const;

export const AgentInstallation = z.looseObject({
  /** SHA-256 of the archive that it runs from; absent: it runs from source files. */
  archive: z.string().optional(),
  /** `linux-x64` */
  platform: z.string(),
  /** Why its server cannot have it replaced; absent: it can. */
  fixed: z.string().optional(),
  /** A new version that has yet to prove itself: the host goes back to the version before where it does not. */
  trial: z.boolean().optional(),
  /** The last order to take a new version, and how far it is. */
  upgrade: z
    .looseObject({
      /** Id of the task. */
      order: z.string(),
      version: z.string(),
      state: z.enum(upgradeStates),
      /** When the order came, by the host's clock. */
      begunAt: Timestamp,
      /** `fetching`: of the archive, 0 … 100. */
      percent: z.int().optional(),
      problem: z.looseObject({ code: z.string(), detail: z.string(), next: z.string().optional(), cause: z.string().optional() }).optional(),
    })
    .optional(),
});
export type AgentInstallation = z.infer<typeof AgentInstallation>;

/** The agent that a server carries: of each platform one archive. */
export const AgentRelease = z.strictObject({
  version: z.string().max(64),
  archives: z.array(z.strictObject({ platform: z.string().max(40), sha256: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.int().min(1) })).max(8),
});
export type AgentRelease = z.infer<typeof AgentRelease>;

/**
 * By semantic versioning: numbers, then what is before a release before the release. What is no version is older than what is.
 * @returns negative where `a` is older than `b`
 */
export function compareVersions(a: string, b: string): number {
  const [one, other] = [parse(a), parse(b)];
  if (!one || !other) return Number(one !== null) - Number(other !== null);
  for (const at of [0, 1, 2] as const) if (one.numbers[at] !== other.numbers[at]) return one.numbers[at] - other.numbers[at];
  if (one.before === other.before) return 0;
  if (one.before === "" || other.before === "") return one.before === "" ? 1 : -1;
  return one.before.localeCompare(other.before, "en", { numeric: true });
}

function parse(version: string): { numbers: readonly [number, number, number]; before: string } | null {
  const match = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/.exec(version);
  return match && { numbers: [Number(match[1]), Number(match[2]), Number(match[3])], before: match[4] ?? "" };
}

export type UpgradeVerdict =
  | { readonly does: "upgrade"; readonly archive: AgentRelease["archives"][number] }
  /** It has that very archive. */
  | { readonly does: "nothing" }
  | { readonly does: "refuse"; readonly why: string };

/** @param seen what the host's agent told; `undefined`: nothing yet */
export function judgeUpgrade(
  seen: { readonly agentVersion: string; readonly installation?: AgentInstallation | undefined } | undefined,
  release: AgentRelease,
): UpgradeVerdict {
  if (!seen) return { does: "refuse", why: "its agent has not said yet what it is" };
  const { agentVersion, installation } = seen;
  if (!installation)
    return { does: "refuse", why: `its agent ${agentVersion} knows nothing of upgrades: run a new line of \`sheaf host add\` on it, once` };
  const archive = release.archives.find(({ platform }) => platform === installation.platform);
  if (archive && installation.archive === archive.sha256) return { does: "nothing" };
  if (installation.fixed !== undefined) return { does: "refuse", why: installation.fixed };
  if (compareVersions(agentVersion, release.version) > 0)
    return { does: "refuse", why: `its agent ${agentVersion} is newer than the server, ${release.version}: upgrade the server first` };
  if (!archive)
    return {
      does: "refuse",
      why: `the server has no agent for ${installation.platform}: run \`npm run package\` in a clone of the same version, and copy the archive and its .sha256 into agents/ of the server's data folder`,
    };
  return { does: "upgrade", archive };
}
