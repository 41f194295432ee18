import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareDomains } from "./compare-domains.ts";
import { describeDomain } from "./describe-domain.ts";
import { type HostBinding, rebind, unbound } from "./host-binding.ts";
import { parseDomain } from "./parse-domain.ts";
import { renderDomain } from "./render-domain.ts";
import { accelerated, emulating, features, inputOf } from "./testing/inputs.ts";

const cells = [
  { cell: 0, cpus: [0, 1, 2, 3] },
  { cell: 1, cpus: [4, 5, 6, 7] },
];
const host = { ...accelerated, cells };
const spec = { cpu: { count: 2, maximum: 4 }, memory: { bytes: 2 ** 30 } };
const bound = (binding: HostBinding | undefined, on = host) => ({ ...inputOf(spec, on), ...(binding === undefined ? {} : { binding }) });
const own: HostBinding = { ...unbound, vcpus: [[1], [2], [3], [5]], emulator: [0], memory: { mode: "preferred", nodes: [0] } };

const cpus = fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 4 }).map((list) => list.toSorted((a, b) => a - b));
const arbitrary: fc.Arbitrary<HostBinding> = fc
  .record({
    vcpus: fc.oneof(fc.constant([]), fc.array(cpus, { minLength: 4, maxLength: 4 })),
    emulator: fc.oneof(fc.constant([]), cpus),
    memory: fc.constantFrom(
      null,
      { mode: "preferred" as const, nodes: [1] },
      { mode: "strict" as const, nodes: [0] },
      { mode: "interleave" as const, nodes: [0, 1] },
    ),
    guestCells: fc.constantFrom(
      [],
      [
        { vcpus: 2, memoryBytes: 2 ** 29, mode: "strict" as const, node: 0 },
        { vcpus: 2, memoryBytes: 2 ** 29, mode: "preferred" as const, node: 1 },
      ],
    ),
    hugepages: fc.boolean(),
  })
  .map(({ hugepages, ...binding }) => ({
    ...binding,
    memory: binding.guestCells.length > 0 ? null : binding.memory,
    pageBytes: hugepages ? (binding.guestCells.length > 0 ? [2 ** 21, 2 ** 30] : [2 ** 21]) : [],
  }));

test("what is bound is read again as it was written, and differs from nothing; and it is Sheaf's own", () => {
  fc.assert(
    fc.property(arbitrary, fc.constantFrom(accelerated, emulating), (binding, on) => {
      const pages = binding.pageBytes.length > 0;
      const input = { ...inputOf({ ...spec, memory: { bytes: 2 ** 30, hugepages: pages } }, on), binding };
      const xml = renderDomain(input);
      const parsed = parseDomain(xml);
      assert.deepEqual(parsed.binding ?? unbound, binding);
      assert.deepEqual(parsed.foreign, []);
      assert.deepEqual(compareDomains(parsed, describeDomain(input), { ...on, cells }), { live: [], restart: [] });
    }),
  );
});

test("other CPUs are given while it runs, those plugged in alone; none of one's own means any", () => {
  const running = { ...parseDomain(renderDomain(bound(own))), id: 1 };
  const live = (binding: HostBinding | undefined) => compareDomains(running, describeDomain(bound(binding)), host).live;
  assert.deepEqual(live(own), []);
  assert.deepEqual(live({ ...own, vcpus: [[1], [6], [7], [5]] }), [{ kind: "pin-vcpu", vcpu: 1, cpus: [6] }]);
  assert.deepEqual(live({ ...own, emulator: [0, 4] }), [{ kind: "pin-emulator", cpus: [0, 4] }]);
  const any = [0, 1, 2, 3, 4, 5, 6, 7];
  assert.deepEqual(live({ ...unbound, memory: own.memory }), [
    { kind: "pin-vcpu", vcpu: 0, cpus: any },
    { kind: "pin-vcpu", vcpu: 1, cpus: any },
    { kind: "pin-emulator", cpus: any },
  ]);
  const everywhere = { ...running, binding: { ...own, vcpus: [any, any], emulator: any } };
  assert.deepEqual(compareDomains(everywhere, describeDomain(bound({ ...unbound, memory: own.memory })), host).live, []);
  const defined = parseDomain(renderDomain(bound(own)));
  assert.equal(
    compareDomains(defined, describeDomain(bound({ ...own, vcpus: [[1], [2], [6], [7]] })), host).live.length,
    2,
    "of a definition all are",
  );
});

test("other memory and other cells of the guest wait for its next start, and say so", () => {
  const now = parseDomain(renderDomain(bound(own)));
  const restart = (binding: HostBinding) => compareDomains(now, describeDomain(bound(binding)), host).restart;
  assert.deepEqual(restart(own), []);
  assert.match(restart({ ...own, memory: { mode: "preferred", nodes: [1] } }).join(), /the host's NUMA cells its memory comes from.*1 \(preferred\)/);
  const guestCells = [0, 1].map((node) => ({ vcpus: 2, memoryBytes: 2 ** 29, mode: "preferred" as const, node }));
  assert.match(restart({ ...own, memory: null, guestCells }).join(), /the guest's NUMA cells.*2 \(of 2, 2 vCPUs\)/);
});

test("a domain that Sheaf did not make says that it is pinned and bound", () => {
  const xml = renderDomain(bound(own)).replace(/^ {2}<metadata>[\s\S]*?<\/metadata>\n/m, "");
  const { foreign } = parseDomain(xml);
  assert.ok(foreign.includes("CPU pinning") && foreign.includes("NUMA binding"));
});

test("the XML of a guest that moves is bound to its target and is else what it was", () => {
  fc.assert(
    fc.property(
      fc.option(arbitrary, { nil: undefined }),
      arbitrary,
      fc.boolean(),
      fc.constantFrom(accelerated, emulating),
      (from, to, limited, on) => {
        const target = { ...to, guestCells: from?.guestCells.length ? from.guestCells.map((cell) => ({ ...cell, node: 1 - cell.node })) : [] };
        const pages = (from?.pageBytes.length ?? 0) > 0;
        const wanted: HostBinding = {
          ...target,
          memory: target.guestCells.length > 0 ? null : target.memory,
          pageBytes: pages ? (target.guestCells.length > 0 ? [2 ** 30, 2 ** 21] : [2 ** 21]) : [],
        };
        const cpu = { ...spec.cpu, ...(limited ? { limitMillicores: 500 } : {}) };
        const input = inputOf({ cpu, memory: { bytes: 2 ** 30, hugepages: pages } }, on);
        const source = renderDomain({ ...input, ...(from === undefined ? {} : { binding: from }) });
        const moved = rebind(source, wanted);
        const { binding, ...rest } = parseDomain(moved);
        assert.deepEqual(binding ?? unbound, wanted);
        const { binding: _before, ...before } = parseDomain(source);
        assert.deepEqual(rest, before);
        assert.equal(rebind(rebind(moved, unbound), wanted), moved);
        if (on === emulating && wanted.memory !== null && !pages) assert.match(moved, /sheaf\.ram,size=\d+k,host-nodes=[01].*,policy=/);
      },
    ),
  );
});

test("no socket of the guest lies in two of its cells", () => {
  const { topology } = describeDomain(features["numa-dedicated-spread"] as ReturnType<typeof inputOf>).cpu;
  assert.deepEqual(topology, { sockets: 2, cores: 2, threads: 1 });
});
