import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock, silentLogger } from "@sheaf/base";
import { DocumentIntake } from "./document-intake.ts";
import { KeptState } from "./kept-state.ts";
import { sampleId } from "./simulated/sample-documents.ts";
import { vm } from "./simulated/sample-site.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";

async function intake() {
  const kept = await KeptState.open({ files: new SimulatedFiles(), logger: silentLogger, directory: "/agent" });
  const ports = { clock: new SimulatedClock(), logger: silentLogger, touch: () => {}, released: async () => {}, returned: async () => {} };
  return { kept, documents: new DocumentIntake({ hostId: sampleId(1), kept, ...ports }) };
}
const at = (revision: number, name: string) => ({ ...vm({}, { name }), revision });
const nothingMore = async (): Promise<void> => {};

test("what is left on the disk of an earlier life of the store does not outrank what the server sends", async () => {
  const { kept, documents } = await intake();
  // The target of a migration that was given up: the server named it no more, and was restored from a backup.
  await kept.putDocument(at(900, "before"));
  await documents.sync([], nothingMore);
  await documents.upsert(at(7, "after"));
  assert.equal(kept.document("vm", vm().id)?.name, "after");
});

test("of what one connection sends the newer revision counts", async () => {
  const { kept, documents } = await intake();
  await documents.sync([at(7, "synced")], nothingMore);
  await documents.upsert(at(6, "older"));
  assert.equal(kept.document("vm", vm().id)?.name, "synced");
  await documents.upsert(at(8, "newer"));
  await documents.upsert(at(7, "older"));
  assert.equal(kept.document("vm", vm().id)?.name, "newer");
});
