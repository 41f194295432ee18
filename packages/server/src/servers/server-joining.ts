/**
 * How one more server comes to the site: an administrator makes an invitation (a one-time token, stored hashed, good for a quarter of an
 * hour), the new server shows it and gets what all servers share: the key of the sealed secrets, the authority, the store's place.
 * Whoever has that is the site; so it is given once for a token, over a connection to a server of the authority that the line names.
 */
import { joinTokenKey, serverMemberKey, serverPresenceKey, SheafError } from "@sheaf/model";
import { z } from "zod";
import { hashOf } from "../identity/sessions.ts";
import { Draft } from "../records/draft.ts";
import type { RecordServices } from "../records/record-services.ts";
import type { Asker } from "../records/record-writer.ts";

/** What a new server must have. */
export interface ServerMaterial {
  readonly store: string;
  /** By name in the data folder, base64. */
  readonly files: Readonly<Record<string, string>>;
}

const Invitation = z.looseObject({ createdBy: z.string(), expiresAt: z.int() });
/** Apart from hosts' tokens: neither is good for the other. */
const tokenKey = (token: string): string => joinTokenKey(`server-${hashOf(token)}`);

export async function inviteServer(
  services: RecordServices,
  asker: Asker,
  input: { readonly validForMs: number; readonly createdBy: string },
): Promise<{ token: string; expiresAt: number }> {
  const { context, writer } = services;
  const token = `server_${Buffer.from(context.random.bytes(24)).toString("hex")}`;
  const expiresAt = context.clock.now() + input.validForMs;
  await writer.write(asker, () => {
    const draft = new Draft();
    draft.put(tokenKey(token), { createdBy: input.createdBy, expiresAt });
    return { draft, target: "server", after: JSON.stringify({ expiresAt }), answer: () => undefined };
  });
  return { token, expiresAt };
}

/** Uses the token up. @throws SheafError `not-allowed`, `name-taken` */
export async function joinServer(services: RecordServices, asker: Asker, input: { readonly token: string; readonly name: string }): Promise<void> {
  const { context, writer } = services;
  const key = tokenKey(input.token);
  await writer.write({ ...asker, actor: `server:${input.name}` }, async () => {
    const entry = await context.store.get(key);
    if (entry === null || Invitation.parse(JSON.parse(entry.value)).expiresAt <= context.clock.now())
      throw new SheafError("not-allowed", "The invitation is not valid: it was used, has expired, or never was.", {
        next: "Make a new one: `sheaf server join`.",
      });
    if ((await context.store.get(serverMemberKey(input.name))) !== null)
      throw new SheafError("name-taken", `There is a server called ${input.name}.`, {
        next: "Give the new one another name, or remove the old one first: `sheaf server leave`.",
      });
    const draft = new Draft();
    draft.require({ compare: { key, modRevision: entry.modRevision } });
    draft.delete(key);
    return { draft, target: `server/${input.name}`, after: JSON.stringify({ name: input.name }), answer: () => undefined };
  });
}

/** @throws SheafError `not-found`, `state-refused` */
export async function forgetServer(services: RecordServices, asker: Asker, name: string): Promise<void> {
  const { context, writer } = services;
  await writer.write(asker, async () => {
    const key = serverMemberKey(name);
    const entry = await context.store.get(key);
    if (entry === null) throw new SheafError("not-found", `There is no server called ${name}.`);
    const running = (): SheafError => new SheafError("state-refused", `The server ${name} is running.`, { next: "Stop it first." });
    const draft = new Draft();
    draft.require({ compare: { key: serverPresenceKey(name), createRevision: 0 }, refusal: running });
    draft.delete(key);
    return { draft, target: `server/${name}`, before: entry.value, answer: () => undefined };
  });
}
