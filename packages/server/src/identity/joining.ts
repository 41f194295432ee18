/**
 * How a host comes to the site: an administrator makes an invitation (a one-time token, stored hashed), the new host's agent shows it with
 * a certificate request and gets host record and certificate. The same host may repeat its joining with the same request when the answer
 * was lost; nobody else can use the token again.
 */
import { createHash } from "node:crypto";
import { HostSpec, joinTokenKey, partKey, SheafError } from "@sheaf/model";
import { z } from "zod";
import { nameTaken } from "../records/documents.ts";
import { Draft } from "../records/draft.ts";
import type { Asker } from "../records/record-writer.ts";
import type { RecordServices } from "../records/record-services.ts";
import { hashOf } from "./sessions.ts";

const Invitation = z.looseObject({
  cluster: z.string(),
  name: z.string().optional(),
  createdBy: z.string(),
  expiresAt: z.int(),
  /** Set when it was used: by whom, with which request. */
  used: z.object({ hostId: z.string(), machineId: z.string(), request: z.string() }).optional(),
});
type Invitation = z.infer<typeof Invitation>;

export interface InvitationInput {
  readonly cluster: string;
  readonly name?: string | undefined;
  readonly validForMs: number;
  readonly createdBy: string;
}

export async function inviteHost(services: RecordServices, asker: Asker, input: InvitationInput): Promise<{ token: string; expiresAt: number }> {
  const { context, references, writer } = services;
  const token = `join_${Buffer.from(context.random.bytes(24)).toString("hex")}`;
  const expiresAt = context.clock.now() + input.validForMs;
  await writer.write({ ...asker, action: asker.action }, () => {
    const cluster = references.above("cluster", input.cluster, "/cluster");
    if (input.name !== undefined && context.cache.byName("host", "-", input.name) !== undefined) throw nameTaken("host", input.name, undefined);
    const draft = new Draft();
    draft.unchanged(cluster);
    const invitation: Invitation = {
      cluster: cluster.id,
      createdBy: input.createdBy,
      expiresAt,
      ...(input.name === undefined ? {} : { name: input.name }),
    };
    draft.put(joinTokenKey(hashOf(token)), invitation);
    return {
      draft,
      target: `cluster/${cluster.id}`,
      after: JSON.stringify({ cluster: cluster.id, name: input.name, expiresAt }),
      answer: () => undefined,
    };
  });
  return { token, expiresAt };
}

export interface JoinInput {
  readonly token: string;
  readonly certificateRequest: string;
  readonly hostname: string;
  readonly machineId: string;
  readonly address: string;
}

const refused = (): SheafError =>
  new SheafError("not-allowed", "The invitation is not valid: it was used, has expired, or never was.", {
    next: "Make a new one: `sheaf host add`.",
  });

/** @throws SheafError `not-allowed`, `name-taken`, `invalid-input` */
export async function joinHost(services: RecordServices, asker: Asker, input: JoinInput): Promise<{ hostId: string; certificate: string }> {
  const { context, writer } = services;
  const key = joinTokenKey(hashOf(input.token));
  const request = createHash("sha256").update(input.certificateRequest).digest("hex");
  const hostId = services.newId();
  const sign = (id: string, hostname: string): Promise<string> =>
    context.authority.signAgent({ certificateRequest: input.certificateRequest, hostId: id, hostname, addresses: [hostname, input.address] });
  // Signed first: a request that cannot be signed must not use the invitation up.
  let certificate = "";
  return writer.write({ ...asker, actor: `host:${input.hostname}` }, async () => {
    const entry = await context.store.get(key);
    const invitation = entry === null ? undefined : Invitation.parse(JSON.parse(entry.value));
    if (entry === null || invitation === undefined || invitation.expiresAt <= context.clock.now()) throw refused();
    const { used } = invitation;
    if (used !== undefined) {
      const known = context.cache.get("host", used.hostId);
      if (used.machineId !== input.machineId || used.request !== request || known === undefined || known.deletedAt !== undefined) throw refused();
      return { unchanged: { hostId: used.hostId, certificate: await sign(used.hostId, known.name) } };
    }
    const name = invitation.name ?? input.hostname;
    if (context.cache.byName("host", "-", name) !== undefined) throw nameTaken("host", name, undefined);
    certificate = await sign(hostId, name);
    const cluster = services.references.above("cluster", invitation.cluster, "/token");
    const draft = new Draft();
    draft.require({ compare: { key, modRevision: entry.modRevision } });
    draft.unchanged(cluster);
    draft.put(key, { ...invitation, used: { hostId, machineId: input.machineId, request } });
    draft.claimName("host", "-", name, hostId, { refusal: () => nameTaken("host", name, undefined) });
    const part = {
      kind: "host",
      id: hostId,
      name,
      labels: {},
      generation: 1,
      createdAt: context.clock.now(),
      createdBy: invitation.createdBy,
      finalizers: [],
      spec: HostSpec.parse({ cluster: cluster.id }),
    };
    draft.put(partKey("host", hostId, "spec"), part);
    return { draft, target: `host/${hostId}`, after: JSON.stringify(part), answer: () => ({ hostId, certificate }) };
  });
}
