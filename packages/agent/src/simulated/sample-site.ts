/** A small site's documents: pools, a network, an image, a machine with one disk. For tests of the agent. */
import { createHash } from "node:crypto";
import type { AgentDocument } from "@sheaf/contract";
import type { RecordOf } from "@sheaf/model";
import { sampleDocument, sampleId } from "./sample-documents.ts";

export const ids = {
  host: sampleId(10),
  pool: sampleId(20),
  shared: sampleId(21),
  network: sampleId(30),
  image: sampleId(40),
  volume: sampleId(50),
  vm: sampleId(60),
  cluster: sampleId(70),
};
export const imageContent = Buffer.from("an image's bytes, all of them");
export const imageHex = createHash("sha256").update(imageContent).digest("hex");
export const gib = 2 ** 30;

export const pool = (): RecordOf<"pool"> & { kind: "pool" } =>
  sampleDocument("pool", { type: "local", path: "/mnt/local/sheaf" }, { id: ids.pool, name: "local" });
export const sharedPool = (): RecordOf<"pool"> & { kind: "pool" } =>
  sampleDocument("pool", { type: "shared", path: "/mnt/shared/sheaf" }, { id: ids.shared, name: "shared" });
export const network = (spec: object = {}): RecordOf<"network"> & { kind: "network" } =>
  sampleDocument(
    "network",
    { bridge: "br0", subnets: [{ cidr: "10.0.0.0/24", gateway: "10.0.0.1", nameServers: ["10.0.0.53"] }], ...spec },
    { id: ids.network, name: "lan" },
  );
export const image = (): RecordOf<"image"> & { kind: "image" } =>
  sampleDocument(
    "image",
    { source: { upload: true } },
    {
      id: ids.image,
      name: "mini",
      status: {
        library: {
          state: "ready",
          receivedBytes: 1,
          format: "qcow2",
          virtualSizeBytes: 1024,
          fileBytes: imageContent.length,
          digest: `sha256:${imageHex}`,
          at: 1,
        },
      },
    },
  );

export interface Placed {
  readonly host?: string;
  readonly epoch?: number;
  readonly incarnation?: string;
}
const placementOf = ({ host = ids.host, epoch = 1, incarnation = "i1" }: Placed = {}) => ({ host, epoch, incarnation });

export const volume = (spec: object = {}, options: object = {}, placed: Placed = {}): RecordOf<"volume"> & { kind: "volume" } =>
  sampleDocument(
    "volume",
    { pool: ids.pool, sizeBytes: gib, source: { image: ids.image }, ...spec },
    { id: ids.volume, name: "web-root", placement: placementOf(placed), ...options },
  );

export const vm = (spec: object = {}, options: object = {}, placed: Placed = {}): RecordOf<"vm"> & { kind: "vm" } =>
  sampleDocument(
    "vm",
    {
      memory: { bytes: gib / 4 },
      disks: [{ name: "root", volume: ids.volume }],
      nics: [{ name: "eth0", network: ids.network, mac: "52:54:00:00:00:60", addresses: ["10.0.0.7"] }],
      ...spec,
    },
    { id: ids.vm, name: "web", number: 100, placement: placementOf(placed), ...options },
  );

export const site = (): AgentDocument[] => [pool(), network(), image(), volume(), vm()];
