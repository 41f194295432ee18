/**
 * etcd's messages as TypeScript sees them once `etcd.proto` is loaded: 64-bit numbers are decimal texts, because a lease's number uses
 * all 63 bits. Called by the parts of the etcd store; knows nothing of what Sheaf keeps.
 */
export interface ResponseHeader {
  readonly cluster_id: string;
  readonly member_id: string;
  readonly revision: string;
  readonly raft_term: string;
}

export interface HeaderResponse {
  readonly header: ResponseHeader | null;
}

export interface KeyValue {
  readonly key: Buffer;
  readonly create_revision: string;
  readonly mod_revision: string;
  readonly version: string;
  readonly value: Buffer;
  readonly lease: string;
}

export interface RangeRequest {
  readonly key: Buffer;
  readonly range_end?: Buffer;
  readonly limit?: number;
  readonly revision?: number;
  readonly count_only?: boolean;
}

export interface RangeResponse extends HeaderResponse {
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: string;
}

export type CompareRequest = { readonly key: Buffer; readonly result: "EQUAL" } & (
  | { readonly target: "CREATE"; readonly create_revision: number }
  | { readonly target: "MOD"; readonly mod_revision: number }
  | { readonly target: "VALUE"; readonly value: Buffer }
);

export type RequestOp =
  | { readonly request_range: RangeRequest }
  | { readonly request_put: { readonly key: Buffer; readonly value: Buffer; readonly lease?: string } }
  | { readonly request_delete_range: { readonly key: Buffer; readonly range_end?: Buffer } }
  | { readonly request_txn: TxnRequest };

export interface ResponseOp {
  readonly response_range?: RangeResponse;
  readonly response_txn?: TxnResponse;
}

export interface TxnRequest {
  readonly compare: readonly CompareRequest[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

export interface TxnResponse extends HeaderResponse {
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}

export interface WatchRequest {
  readonly create_request: { readonly key: Buffer; readonly range_end: Buffer; readonly start_revision: number };
}

export interface WatchResponse extends HeaderResponse {
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compact_revision: string;
  readonly cancel_reason: string;
  readonly events: readonly { readonly type: "PUT" | "DELETE"; readonly kv: KeyValue }[];
}

export interface LeaseResponse extends HeaderResponse {
  readonly ID: string;
  /** Seconds. 0 or less: there is no such lease. */
  readonly TTL: string;
}

export interface LeaseTimeToLiveResponse extends LeaseResponse {
  readonly grantedTTL: string;
}

export interface StatusResponse extends HeaderResponse {
  readonly version: string;
  readonly dbSize: string;
  /** `0` where the member knows of none. */
  readonly leader: string;
}
