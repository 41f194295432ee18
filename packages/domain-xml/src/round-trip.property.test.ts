import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareDomains } from "./compare-domains.ts";
import { describeDomain } from "./describe-domain.ts";
import type { DomainInput } from "./domain-input.ts";
import { parseDomain } from "./parse-domain.ts";
import { renderDescription, renderDomain } from "./render-domain.ts";
import { specArbitrary } from "./testing/arbitraries.ts";
import { accelerated, emulating, inputOf } from "./testing/inputs.ts";
import { toVmSpec } from "./to-vm-spec.ts";
import { type XmlNode, readXml } from "./xml-reader.ts";

const host = fc.constantFrom(accelerated, emulating);

test("render → parse → compare finds no difference, for any spec", () => {
  fc.assert(
    fc.property(specArbitrary, host, (spec, on) => {
      const input = inputOf(spec, on);
      const xml = renderDomain(input);
      const parsed = parseDomain(xml);
      assert.deepEqual(compareDomains(parsed, xml, on), { live: [], restart: [] });
      assert.deepEqual(compareDomains(parsed, describeDomain(input), on), { live: [], restart: [] });
      assert.deepEqual(parsed.foreign, []);
      assert.equal(renderDescription(parsed), xml, "what was read is written again as it was");
      assert.equal(renderDomain(input, parsed), xml, "rendering anew keeps names and places");
    }),
    { numRuns: 300 },
  );
});

test("no two devices share a name, a place on a bus, an alias or a boot order", () => {
  fc.assert(
    fc.property(specArbitrary, host, (spec, on) => {
      const domain = describeDomain(inputOf(spec, on));
      const storage = [...domain.disks, ...domain.cdroms];
      const unique = (values: readonly unknown[]): void => assert.equal(new Set(values.map((value) => JSON.stringify(value))).size, values.length);
      unique(storage.map(({ target }) => target));
      unique(storage.flatMap(({ bus, address }) => (address === undefined ? [] : [[bus, address]])));
      const devices = [...storage, ...domain.nics];
      unique(devices.map(({ alias }) => alias));
      unique(devices.flatMap(({ bootOrder }) => bootOrder ?? []));
    }),
  );
});

test("adopting what was rendered gives the spec again", () => {
  fc.assert(
    fc.property(specArbitrary, host, (spec, on) => {
      const input = inputOf(spec, on);
      const domain = { ...parseDomain(renderDomain({ ...input, seedPath: null })), machine: null };
      const adopted = toVmSpec(domain, { networkOf: () => "lan", cgroupVersion: on.cgroupVersion, acceptLosses: true });
      const volumes = input.vm.spec.disks.map(({ volume }) => volume);
      const again = { ...adopted.spec, disks: adopted.spec.disks.map((disk, index) => ({ ...disk, volume: volumes[index] ?? "" })) };
      const images = input.vm.spec.cdroms.map(({ image }) => image);
      const cdroms = adopted.spec.cdroms.map((cdrom, index) => ({ ...cdrom, image: images[index] ?? null }));
      const back: DomainInput = { ...inputOf({ ...again, cdroms }, on), seedPath: null };
      assert.deepEqual(compareDomains(domain, describeDomain(back), on).restart, []);
      const kinds = compareDomains(domain, describeDomain(back), on).live.map(({ kind }) => kind);
      assert.deepEqual(kinds, ["metadata"], "only Sheaf's own mark is missing");
    }),
  );
});

/** Names of all elements, depth first: the shape that no text may change. */
const shape = (node: XmlNode): string => `${node.name}(${node.children.map(shape).join(" ")})`;

test("text never becomes markup", () => {
  const nasty = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom(
      "</name>",
      "' x='",
      '" x="',
      "<!--",
      "]]>",
      "<![CDATA[",
      "&lt;",
      "&#60;",
      "<!ENTITY a 'b'>",
      "&a;",
      "\u0000",
      "\ud800",
      "]]&gt;<a/>",
    ),
    fc.stringMatching(/^[<>&'"\]!/a-z -]*$/),
  );
  const plain = shape(
    readXml(renderDomain(inputOf({ disks: [{ name: "root" }], nics: [{ name: "e", network: "n", mac: "52:54:00:00:00:01" }] })), "domain"),
  );
  fc.assert(
    fc.property(nasty, nasty, nasty, nasty, (name, incarnation, path, bridge) => {
      const input = inputOf({ disks: [{ name: "root" }], nics: [{ name: "e", network: "n", mac: "52:54:00:00:00:01" }] });
      const xml = renderDomain({
        ...input,
        vm: { ...input.vm, name },
        incarnation,
        disks: input.disks.map((disk) => ({ ...disk, path })),
        nics: input.nics.map((nic) => ({ ...nic, bridge })),
      });
      assert.equal(shape(readXml(xml, "domain")), plain);
      const parsed = parseDomain(xml);
      const kept = (text: string): string => text.toWellFormed().replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd");
      assert.equal(parsed.name, `sheaf-1001-${kept(name)}`);
      assert.equal(parsed.machine?.incarnation, kept(incarnation));
      assert.equal(parsed.disks[0]?.path, kept(path));
      assert.equal(parsed.nics[0]?.bridge, kept(bridge));
    }),
    { numRuns: 1000 },
  );
});
