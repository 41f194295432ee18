/** etcd's calls: paths and coders out of `etcd.proto`. Called by `connection.ts`; loading it costs 100 ms, so only a store on etcd does. */
import { fileURLToPath } from "node:url";
import { loadSync } from "@grpc/proto-loader";
import type { AnyDefinition, ServiceDefinition } from "@grpc/proto-loader";
import type {
  HeaderResponse,
  LeaseResponse,
  LeaseTimeToLiveResponse,
  RangeRequest,
  RangeResponse,
  StatusResponse,
  TxnRequest,
  TxnResponse,
  WatchRequest,
  WatchResponse,
} from "./messages.ts";

export interface Method<Input, Output> {
  readonly path: string;
  readonly encode: (input: Input) => Buffer;
  readonly decode: (bytes: Buffer) => Output;
}

interface Lease {
  readonly ID: string;
}

const definitions = loadSync(fileURLToPath(new URL("etcd.proto", import.meta.url)), {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: false,
});

export const methods = {
  range: method<RangeRequest, RangeResponse>("KV", "Range"),
  transact: method<TxnRequest, TxnResponse>("KV", "Txn"),
  compact: method<{ readonly revision: number }, HeaderResponse>("KV", "Compact"),
  watch: method<WatchRequest, WatchResponse>("Watch", "Watch"),
  grantLease: method<{ readonly TTL: number }, LeaseResponse>("Lease", "LeaseGrant"),
  revokeLease: method<Lease, HeaderResponse>("Lease", "LeaseRevoke"),
  keepAlive: method<Lease, LeaseResponse>("Lease", "LeaseKeepAlive"),
  leaseTime: method<Lease, LeaseTimeToLiveResponse>("Lease", "LeaseTimeToLive"),
  status: method<Readonly<Record<string, never>>, StatusResponse>("Maintenance", "Status"),
} as const;

function method<Input extends object, Output>(service: string, name: string): Method<Input, Output> {
  const definition: AnyDefinition | undefined = definitions[`etcdserverpb.${service}`];
  const found = (definition as ServiceDefinition | undefined)?.[name]; // the file's services, and nothing else, are looked up
  if (found === undefined) throw new Error(`etcd.proto has no ${service}.${name}`);
  return {
    path: found.path,
    encode: (input) => found.requestSerialize(input),
    decode: (bytes) => found.responseDeserialize(bytes) as Output, // the types of messages.ts are those of the file
  };
}
