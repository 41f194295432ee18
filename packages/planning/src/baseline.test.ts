import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { chooseBaseline } from "./baseline.ts";

const skylake = { accelerated: true, cpuModels: ["qemu64", "Haswell", "Skylake-Server-IBRS", "SandyBridge"] };
const haswell = { accelerated: true, cpuModels: ["Haswell", "SandyBridge", "qemu64"] };
const emulating = { accelerated: false, cpuModels: ["qemu64", "Haswell", "kvm64"] };

test("the newest model that all carry", () => {
  assert.equal(chooseBaseline([skylake])?.model, "Skylake-Server-IBRS");
  assert.equal(chooseBaseline([skylake, haswell])?.model, "Haswell");
});

test("where one host only emulates, the plain model", () => {
  assert.equal(chooseBaseline([skylake, emulating])?.model, "qemu64");
});

test("no host, or nothing in common: no answer", () => {
  assert.equal(chooseBaseline([]), null);
  assert.equal(chooseBaseline([haswell, { accelerated: true, cpuModels: ["EPYC"] }]), null);
});

test("the model is one that every host carries, in whatever order they come", () => {
  const host = fc.record({
    accelerated: fc.boolean(),
    cpuModels: fc.subarray(["qemu64", "kvm64", "Nehalem", "Haswell", "EPYC", "EPYC-Rome", "cortex-a57", "GraniteRapids"]),
  });
  fc.assert(
    fc.property(fc.array(host, { minLength: 1, maxLength: 6 }), (hosts) => {
      const chosen = chooseBaseline(hosts);
      if (chosen) assert.ok(hosts.every((one) => one.cpuModels.includes(chosen.model)));
      assert.equal(chooseBaseline(hosts.toReversed())?.model, chosen?.model);
    }),
  );
});
