/** Upgrades of agents as they are asked for: of one host, or of a cluster. What follows is the rolling upgrade controller's; all of it stands in the task. */
import { type AgentRelease, judgeUpgrade, SheafError, taskState, type RecordOf } from "@sheaf/model";
import type { ServerContext } from "../context.ts";
import type { Written } from "./documents.ts";
import { Draft } from "./draft.ts";
import type { ChangeRequest, RecordServices, Work } from "./record-services.ts";
import { addTask } from "./tasks.ts";

export interface UpgradeWish {
  readonly target: { readonly kind: "host" | "cluster"; readonly id: string; readonly name: string };
  readonly hosts: readonly RecordOf<"host">[];
  readonly release: AgentRelease;
  readonly parallel: number;
  readonly settleMs?: number | undefined;
}

/**
 * What this server carries. Where several servers share the store, all must have been upgraded: an agent may come to any of them, and must
 * not be newer than its server. @throws SheafError `state-refused`
 */
export async function carriedRelease({ joinFiles, servers, settings }: ServerContext): Promise<AgentRelease> {
  if (settings.simulated)
    throw new SheafError("state-refused", "This data centre is simulated: its agents are part of the server.", {
      next: "Start Sheaf without --demo, with a data folder of its own.",
    });
  const { version } = settings;
  const other = (await servers.list()).find((server) => server.present && server.version !== version);
  if (other)
    throw new SheafError(
      "state-refused",
      `Server ${other.name} is version ${other.version}, this one ${version}: agents follow when all servers are the same.`,
      {
        next: "Upgrade every server first; `sheaf server list` shows them.",
      },
    );
  return { version, archives: [...(await joinFiles.agents())] };
}

/** What would be done with a host, by what its agent told last. */
export function upgradePreview(host: RecordOf<"host">, release: AgentRelease) {
  const seen = host.status.agent;
  const verdict = judgeUpgrade(seen, release);
  const away =
    host.spec.maintenance || host.status.maintenance !== undefined
      ? "it is in maintenance"
      : host.status.fencing !== undefined
        ? "it is off, or being fenced"
        : host.status.liveness?.state === "ready"
          ? undefined
          : "its agent is not connected";
  const why = verdict.does === "refuse" ? verdict.why : verdict.does === "upgrade" ? away : undefined;
  return {
    name: host.name,
    ...(seen === undefined ? {} : { version: seen.agentVersion }),
    does: why !== undefined ? ("leave-out" as const) : verdict.does === "upgrade" ? ("upgrade" as const) : ("nothing" as const),
    ...(why === undefined ? {} : { why }),
  };
}

/** Hosts that an upgrade of a cluster concerns. @param names in the order in which they are taken; absent: all of it, by name */
export function membersOf(services: RecordServices, cluster: RecordOf<"cluster">, names: readonly string[] | undefined): RecordOf<"host">[] {
  const members = [...services.context.cache.all("host")].filter((host) => host.spec.cluster === cluster.id && host.deletedAt === undefined);
  if (members.length === 0) throw new SheafError("state-refused", `Cluster ${cluster.name} has no hosts.`);
  if (names === undefined) return members.sort((one, other) => (one.name < other.name ? -1 : 1));
  const wanted = names.map((name, at) => services.references.above("host", name, `/hosts/${at}`));
  const stranger = wanted.find((host) => host.spec.cluster !== cluster.id);
  if (stranger) throw new SheafError("state-refused", `Host ${stranger.name} is not of cluster ${cluster.name}.`);
  return [...new Set(wanted)];
}

/** @throws SheafError `state-refused` where an upgrade is under way there, or no host can be upgraded */
export function upgradeAgents(services: RecordServices, request: ChangeRequest, wish: UpgradeWish): Promise<Written> {
  return services.writer.write(request.asker, () => {
    const { cache, clock } = services.context;
    const { target, hosts, release } = wish;
    const record = cache.get(target.kind, target.id);
    if (!record) throw new SheafError("not-found", `There is no ${target.kind} ${target.id} any more.`);
    const clusters = new Set(hosts.map((host) => host.spec.cluster));
    const underWay = [...cache.all("task")].find(
      ({ spec, status }) => spec.verb === "upgrade" && ["waiting", "running"].includes(taskState(status)) && concerns(spec.target, hosts, clusters),
    );
    if (underWay)
      throw new SheafError("state-refused", `Agents of ${underWay.spec.target.kind} ${underWay.spec.target.name} are being upgraded already.`, {
        next: `Follow it with \`sheaf task watch ${underWay.id}\`, or end it with \`sheaf task cancel\`.`,
      });
    const verdicts = hosts.map((host) => ({ host, verdict: judgeUpgrade(host.status.agent, release) }));
    const refusals = verdicts.flatMap(({ host, verdict }) => (verdict.does === "refuse" ? [`${host.name}: ${verdict.why}`] : []));
    if (refusals.length === hosts.length)
      throw new SheafError(
        "state-refused",
        `No agent of ${target.kind} ${target.name} can be upgraded to ${release.version}: ${refusals[0] ?? ""}.`,
        {
          next: `\`sheaf ${target.kind} upgrade ${target.name} --check\` tells it of each host.`,
        },
      );
    const draft = new Draft();
    draft.unchanged(record);
    const work: Work = { services, request, draft, id: target.id, name: target.name, projectId: "", now: clock.now() };
    const parameters = {
      hosts: hosts.map(({ id }) => id),
      release,
      parallel: wish.parallel,
      ...(wish.settleMs === undefined ? {} : { settleMs: wish.settleMs }),
    };
    const task = addTask(work, { verb: "upgrade", target, parameters });
    return {
      draft,
      target: `${target.kind}/${target.id}`,
      after: JSON.stringify({ upgrade: parameters.hosts, version: release.version }),
      receipt: { kind: target.kind, id: target.id, task },
      answer: (): Written => ({ id: target.id, specRevision: record.specRevision, record: services.presenter.text(record), task }),
    };
  });
}

/** One host at a time in a cluster, whoever asked. */
function concerns(
  target: { readonly kind: string; readonly id: string },
  hosts: readonly RecordOf<"host">[],
  clusters: ReadonlySet<string>,
): boolean {
  return target.kind === "cluster" ? clusters.has(target.id) : hosts.some(({ id }) => id === target.id);
}
