/** A site's machines as tests ask for them: made, waited for, looked at. */
import assert from "node:assert/strict";
import type { LabHost } from "@sheaf/lab";
import type { VmObservation } from "@sheaf/model";
import { until } from "../apps/server/deployment/processes.ts";
import type { LocalClient } from "../apps/server/deployment/local-client.ts";
import type { Site } from "./site.ts";

type Spec = NonNullable<NonNullable<Parameters<LocalClient["vm"]["create"]>[0]>["body"]>["spec"];
export const mib = 2 ** 20;

export class SiteMachines {
  readonly #site: Site;

  constructor(site: Site) {
    this.#site = site;
  }

  get(name: string) {
    return this.#site.deployment.client.vm.get({ params: { id: name } });
  }

  /** From the image `mini`, on the network `default`, with 128 MiB, unless `spec` says otherwise. */
  create(name: string, spec: Spec) {
    const usual = { memory: { bytes: 128 * mib }, disks: [{ name: "root", image: "mini" }], nics: [{ name: "eth0", network: "default" }] };
    return this.#site.deployment.client.vm.create({ body: { name, spec: { ...usual, ...spec } } });
  }

  inState(name: string, state: string, timeoutMs = 60_000) {
    return until(`${name} as ${state}`, timeoutMs, async () => {
      const found = await this.get(name);
      return found.state === state ? found : undefined;
    });
  }

  async address(name: string): Promise<string> {
    return (await this.get(name)).spec.nics[0]?.addresses?.[0] ?? "none";
  }

  /** What its agent says of it. */
  async seen(name: string): Promise<Partial<VmObservation>> {
    return ((await this.get(name)).status as { agent?: VmObservation }).agent ?? {}; // a machine's record
  }

  get hosts(): LabHost[] {
    return [...this.#site.deployment.hosts.values()].map(({ host }) => host);
  }

  /** The lab host that it is on. */
  async hostOf(name: string): Promise<LabHost> {
    const { placement } = await this.get(name);
    const record = await this.#site.deployment.client.host.get({ params: { id: placement?.host ?? "" } });
    const found = this.hosts.find((host) => host.name === record.name);
    assert.ok(found, `${name} is on a host`);
    return found;
  }

  async goneFrom(name: string, timeoutMs = 60_000): Promise<void> {
    await until(`the end of ${name}`, timeoutMs, async () => ((await this.#site.sheaf("vm", "show", name)).code === 3 ? true : undefined));
  }
}
