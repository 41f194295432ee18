import assert from "node:assert/strict";
import { test } from "node:test";
import { compareDomains } from "./compare-domains.ts";
import type { HostDevice } from "./domain-description.ts";
import { parseDomain } from "./parse-domain.ts";
import { renderDomain } from "./render-domain.ts";
import { emulating, inputOf, vmId } from "./testing/inputs.ts";

const gpu: HostDevice = { kind: "pci", address: "0000:41:00.0" };
const slice: HostDevice = { kind: "mdev", uuid: vmId };
const withDevices = (...hostDevices: readonly HostDevice[]): string => renderDomain({ ...inputOf({}), hostDevices });

test("what is rendered is read again, and is nothing foreign", () => {
  const domain = parseDomain(withDevices(gpu, slice));
  assert.deepEqual(domain.hostDevices, [gpu, slice]);
  assert.deepEqual(domain.foreign, []);
});

test("a device that somebody else put there is foreign", () => {
  const domain = parseDomain(withDevices(gpu).replace(/<alias name=.ua-hostdev[^>]*>/, ""));
  assert.deepEqual(domain.hostDevices, []);
  assert.deepEqual(domain.foreign, ["passed-through host device"]);
});

test("devices come and go at the next start, never live", () => {
  const { live, restart } = compareDomains(withDevices(gpu), withDevices(slice), emulating);
  assert.deepEqual(live, []);
  assert.deepEqual(restart, [
    "the host's device 0000:41:00.0 is removed at the next start",
    `the mediated device ${vmId} is added at the next start`,
  ]);
  assert.deepEqual(compareDomains(withDevices(gpu, slice), withDevices(gpu, slice), emulating), { live: [], restart: [] });
});

test("each device has a port of its own on a q35 machine", () => {
  const ports = (xml: string): number => xml.match(/pcie-root-port/g)?.length ?? 0;
  const many = Array.from({ length: 16 }, (_, n): HostDevice => ({ kind: "pci", address: `0000:4${n.toString(16)}:00.0` }));
  assert.equal(ports(withDevices(...many)), ports(withDevices()) + 16);
});
