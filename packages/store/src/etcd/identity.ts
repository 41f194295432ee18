/**
 * The identity of a store in etcd: one key with the incarnation and the state of the place. Every transaction compares it, so that a
 * server which does not know of a restore or a move can write nothing. Called by `etcd-store.ts`.
 */
import { StoreError } from "../store.ts";
import type { EtcdConnection } from "./connection.ts";
import { sameLife } from "./keyspace.ts";
import type { Keyspace, Life } from "./keyspace.ts";
import type { KeyValue, TxnResponse } from "./messages.ts";
import { methods } from "./methods.ts";

/** `filling`: being copied to. `ready`: in use. `moved`: copied elsewhere; nobody may use what is left. */
export type PlaceState = "filling" | "ready" | "moved";

export type Purpose = "serve" | "fill" | "replace" | "move";

export interface Identity extends Life {
  readonly incarnation: string;
}

const schema = 1;

const valueOf = (incarnation: string, state: PlaceState): Buffer => Buffer.from(JSON.stringify({ schema, incarnation, state }));

/**
 * @param purpose `serve` makes an empty place where there is none and refuses one that is not ready; `fill` wants one that nobody uses:
 *   none, half filled, or moved away; `replace` takes whatever is there; `move` takes one that is ready, and may change its state
 * @throws StoreError `invalid`, `newer-schema`, `corrupt`, `unavailable`
 */
export async function claimPlace(connection: EtcdConnection, space: Keyspace, incarnation: string, purpose: Purpose): Promise<Identity> {
  const key = space.incarnationKey;
  const { kvs } = await connection.read(methods.range, { key });
  const there = kvs[0];
  if (purpose === "serve" && there !== undefined) return opened(there);
  if (purpose === "move") {
    if (there === undefined) throw new StoreError("invalid", "there is no store at this place of etcd");
    return opened(there);
  }
  if (there !== undefined) {
    if (purpose === "fill" && parsed(there.value.toString("utf8")).state === "ready")
      throw new StoreError("invalid", "there is a store at this place of etcd already; a copy overwrites nothing");
    await connection.read(methods.transact, {
      compare: [{ key, result: "EQUAL", target: "MOD", mod_revision: Number(there.mod_revision) }],
      success: [{ request_delete_range: space.all }],
      failure: [],
    });
  }
  // May be tried again: what an earlier try made has the same incarnation. Another server may be faster: its identity is taken then.
  const made: TxnResponse = await connection.read(methods.transact, {
    compare: [{ key, result: "EQUAL", target: "CREATE", create_revision: 0 }],
    success: [{ request_put: { key, value: valueOf(incarnation, purpose === "serve" ? "ready" : "filling") } }, { request_range: { key } }],
    failure: [{ request_range: { key } }],
  });
  const kv = made.responses.flatMap(({ response_range }) => response_range?.kvs ?? [])[0];
  if (kv === undefined) throw new StoreError("corrupt", "etcd did not give back the store's identity");
  if (purpose === "serve") return opened(kv);
  const identity = identityOf(kv);
  if (identity.incarnation !== incarnation) throw new StoreError("invalid", "somebody else is filling this place of etcd");
  return identity;
}

/** @throws StoreError `uncertain`, `unavailable`; `corrupt` where the identity has changed meanwhile */
export async function markPlace(connection: EtcdConnection, space: Keyspace, identity: Identity, state: PlaceState): Promise<Identity> {
  const done = await connection.write(methods.transact, {
    compare: [sameLife(space, identity)],
    success: [{ request_put: { key: space.incarnationKey, value: valueOf(identity.incarnation, state) } }],
    failure: [],
  });
  if (!done.succeeded) throw lifeEndedError();
  return { ...identity, changedAt: Number(done.header?.revision) };
}

export function lifeEndedError(): StoreError {
  return new StoreError(
    "corrupt",
    "the store in etcd was restored, moved or removed while this server ran; nothing more is written. End this server and start it anew",
  );
}

/** @throws StoreError `invalid` where the place is not ready */
function opened(kv: KeyValue): Identity {
  const { state, schema: found } = parsed(kv.value.toString("utf8"));
  if (found > schema) throw new StoreError("newer-schema", "the store in etcd was written by a newer version of Sheaf");
  if (state === "filling")
    throw new StoreError("invalid", "the store in etcd is only half filled: a move or a restore to it did not end; do it again");
  if (state === "moved") throw new StoreError("invalid", "this store was moved elsewhere; start the server with the new place (--store)");
  return identityOf(kv);
}

function identityOf(kv: KeyValue): Identity {
  const { incarnation } = parsed(kv.value.toString("utf8"));
  return { incarnation, base: Number(kv.create_revision), changedAt: Number(kv.mod_revision) };
}

function parsed(text: string): { incarnation: string; state: PlaceState; schema: number } {
  try {
    const { incarnation, state, schema } = JSON.parse(text) as { incarnation?: unknown; state?: unknown; schema?: unknown }; // each is looked at below
    if (typeof incarnation === "string" && typeof schema === "number" && (state === "filling" || state === "ready" || state === "moved"))
      return { incarnation, state, schema };
  } catch {
    // told below, with what is not JSON too
  }
  throw new StoreError("corrupt", "what lies where the store's identity should be cannot be read");
}
