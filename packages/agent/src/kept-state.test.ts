import assert from "node:assert/strict";
import { test } from "node:test";
import { SimulatedClock, silentLogger } from "@sheaf/base";
import { DocumentIntake } from "./document-intake.ts";
import { KeptState } from "./kept-state.ts";
import { newMachineMemory } from "./machine-memory.ts";
import { sampleId } from "./simulated/sample-documents.ts";
import { vm } from "./simulated/sample-site.ts";
import { SimulatedFiles } from "./simulated/simulated-files.ts";

const placement = { epoch: 2, incarnation: "i1" };

test("a look that began before a removal was told does not undo it, nor does a restart; its return does", async () => {
  const files = new SimulatedFiles();
  const open = () => KeptState.open({ files, logger: silentLogger, directory: "/agent" });
  const kept = await open();
  await kept.setWelcome({ incarnation: "i1", bootId: "b" });
  const { id } = vm();
  await kept.putDocument(vm());
  const before = newMachineMemory(1);
  await kept.putMachine(id, before);
  const intakeOf = (state: KeptState) =>
    new DocumentIntake({
      hostId: sampleId(1),
      clock: new SimulatedClock(),
      logger: silentLogger,
      kept: state,
      touch: () => {},
      released: async () => {},
      returned: async () => {},
    });
  await intakeOf(kept).remove({ type: "remove", revision: 1, kind: "vm", id, gone: false, placement });
  await kept.putMachine(id, { ...before, state: "running", since: 2 });
  const removal = { gone: false, incarnation: "i1", placement };
  assert.deepEqual(kept.machine(id)?.removal, removal);
  assert.equal(kept.machine(id)?.state, "running");
  const again = await open();
  assert.deepEqual(again.machine(id)?.removal, removal);
  await intakeOf(again).upsert(vm());
  assert.equal(again.machine(id)?.removal, undefined);
  assert.equal((await open()).machine(id)?.removal, undefined);
  await again.removeMachine(id);
  assert.equal((await open()).machine(id), undefined);
});
