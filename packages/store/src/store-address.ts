/**
 * Where a store is, as operators write it: `sqlite` (the data folder's own file), or `etcd://host:port,host:port/prefix`, with
 * `etcds` and `?ca=FILE&cert=FILE&key=FILE` where etcd speaks TLS. Pure. Called by the server's programs.
 */
import { StoreError } from "./store.ts";

export type StoreAddress =
  | { readonly kind: "sqlite" }
  | {
      readonly kind: "etcd";
      readonly endpoints: readonly string[];
      /** Ends with `/`. */
      readonly prefix: string;
      /** Paths of PEM files; `null`: without encryption. */
      readonly tls: { readonly authority: string; readonly certificate?: string; readonly key?: string } | null;
    };

const defaultPort = 2379;

/** @throws StoreError `invalid` */
export function parseStoreAddress(text: string): StoreAddress {
  if (text === "sqlite") return { kind: "sqlite" };
  const match = /^(etcds?):\/\/([^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(text);
  if (match === null) throw invalid(text, "it must be sqlite, etcd://HOST:PORT,… or etcds://HOST:PORT,…?ca=FILE");
  const [, scheme, hosts = "", path = "", query = ""] = match;
  const endpoints = hosts.split(",").map((host) => endpoint(text, host));
  if (path !== "" && !/^[A-Za-z0-9._/-]+$/.test(path)) throw invalid(text, "the prefix may hold letters, digits, dots, dashes and slashes");
  const prefix = path === "" ? "sheaf/" : `${path.replace(/\/+$/, "")}/`;
  const options = new URLSearchParams(query);
  for (const name of options.keys()) if (!["ca", "cert", "key"].includes(name)) throw invalid(text, `there is no option “${name}”`);
  const [authority, certificate, key] = [options.get("ca"), options.get("cert"), options.get("key")];
  if (scheme === "etcd") {
    if (query !== "") throw invalid(text, "certificates belong to etcds://");
    return { kind: "etcd", endpoints, prefix, tls: null };
  }
  if (authority === null) throw invalid(text, "etcds:// needs ?ca=FILE, the authority that signed etcd's certificates");
  if ((certificate === null) !== (key === null)) throw invalid(text, "cert and key belong together");
  return { kind: "etcd", endpoints, prefix, tls: { authority, ...(certificate === null || key === null ? {} : { certificate, key }) } };
}

function endpoint(text: string, host: string): string {
  // A port is everything behind the last colon that is not inside brackets.
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(host);
  const port = Number(match?.[2] ?? defaultPort);
  if (match === null || port < 1 || port > 65_535) throw invalid(text, `“${host}” is no HOST:PORT`);
  return `${match[1]}:${port}`;
}

const invalid = (text: string, why: string): StoreError => new StoreError("invalid", `“${text}” is no place of a store: ${why}`);
