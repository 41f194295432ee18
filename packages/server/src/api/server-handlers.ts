/** Handlers of the servers that share the store. */
import { routes } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import { forgetServer, inviteServer, joinServer } from "../servers/server-joining.ts";
import { json, on, type AnyHandler } from "./call.ts";

const { server } = routes;

export const serverHandlers: readonly (readonly [string, AnyHandler])[] = [
  on(server.list, async (call) => json({ servers: [...(await call.services.context.servers.list())] })),
  on(server.invite, async (call) => {
    call.everywhere("system.maintain");
    const { authority, servers, settings } = call.services.context;
    // Before a token is made that could not be used.
    if ((await servers.material()) === null) throw alone();
    const { token, expiresAt } = await inviteServer(call.services.records, call.asker, { ...call.body, createdBy: call.caller.userName });
    const command = `node_modules/.bin/node apps/server/main.ts --join ${settings.publicAddress} --token ${token} --fingerprint ${authority.fingerprint} --server-name NAME --name ADDRESS`;
    return json({ token, caFingerprint: authority.fingerprint, expiresAt, command });
  }),
  on(server.join, async (call) => {
    const material = await call.services.context.servers.material();
    if (material === null) throw alone();
    await joinServer(call.services.records, call.asker, call.body);
    return json({ store: material.store, files: { ...material.files } });
  }),
  on(server.delete, async (call) => {
    call.everywhere("system.maintain");
    await forgetServer(call.services.records, call.asker, call.params.name);
    return json({});
  }),
];

const alone = (): SheafError =>
  new SheafError("state-refused", "This server's store is a file of its own: no other server can share it.", {
    next: "Move it to etcd first: `sheaf store migrate`.",
  });
