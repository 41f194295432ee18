/** One side of a managed migration at the local libvirtd, with its parameters in libvirt's names. Used by libvirt-hypervisor.ts alone. */
import {
  MigrateFlag,
  MigrateParameter,
  type MigrationSession as LibvirtMigration,
  type MigrationStep,
  parameter,
  type TypedParameter,
} from "@sheaf/libvirt";
import type { MigrationOptions, MigrationSession } from "./ports.ts";

type Translate = <T>(work: Promise<T>) => Promise<T>;

const shortMs = 120_000;

/** @param translate turns libvirt's errors into HypervisorError */
export function libvirtMigration(uuid: string, session: LibvirtMigration, translate: Translate): MigrationSession {
  const domain = { uuid };
  return {
    get open() {
      return session.open;
    },
    begin: async (options) => {
      const { cookieOut, xml } = await translate(session.begin(domain, step(options), { timeoutMs: shortMs }));
      return { cookie: cookieOut, xml };
    },
    prepare: async (options, xml, cookie) => {
      const more = [parameter.string(MigrateParameter.destinationXml, xml)];
      const { cookieOut, uriOut } = await translate(session.prepare(step(options, more), cookie, { timeoutMs: shortMs }));
      return { cookie: cookieOut, uri: uriOut ?? options.uri ?? "" };
    },
    perform: (options, xml, cookie, timeoutMs) =>
      translate(session.perform(domain, step(options, [parameter.string(MigrateParameter.destinationXml, xml)]), cookie, { timeoutMs })),
    finish: async (options, cookie, cancelled) =>
      (await translate(session.finish(step(options), cookie, cancelled, { timeoutMs: shortMs }))).cookieOut,
    confirm: (options, cookie, cancelled) => translate(session.confirm(domain, step(options), cookie, cancelled, { timeoutMs: shortMs })),
    close: () => session.close(),
  };
}

function step(options: MigrationOptions, more: readonly TypedParameter[] = []): MigrationStep {
  const { live, persistDestination, tls, autoConverge, postCopy, nonSharedDisk, nonSharedIncremental, changeProtection, unsafe } = MigrateFlag;
  // The source is undefined by the caller, after it has read the ended job's figures, which go with the definition.
  const copies = options.copyDisks.length > 0;
  // libvirt calls a shared directory that is no network file system unsafe; Sheaf knows which pools are shared, and asks for safe cache modes itself.
  let flags = live | persistDestination | changeProtection | unsafe;
  if (options.tls) flags |= tls;
  if (options.autoConverge) flags |= autoConverge;
  if (options.postCopy) flags |= postCopy;
  if (copies) flags |= options.copyIncremental ? nonSharedIncremental : nonSharedDisk;
  const { uri, listenAddress, diskPort, tlsDestination } = options;
  const params: TypedParameter[] = [
    parameter.string(MigrateParameter.destinationName, options.name),
    ...options.copyDisks.map((disk) => parameter.string(MigrateParameter.disks, disk)),
    ...(uri === undefined ? [] : [parameter.string(MigrateParameter.uri, uri)]),
    ...(listenAddress === undefined ? [] : [parameter.string(MigrateParameter.listenAddress, listenAddress)]),
    ...(copies && diskPort !== undefined ? [parameter.int(MigrateParameter.disksPort, diskPort)] : []),
    ...(options.tls && tlsDestination !== undefined ? [parameter.string(MigrateParameter.tlsDestination, tlsDestination)] : []),
    // libvirt counts in MiB/s.
    ...(options.bandwidthBytesPerSecond > 0
      ? [parameter.ullong(MigrateParameter.bandwidth, Math.max(1, Math.round(options.bandwidthBytesPerSecond / 2 ** 20)))]
      : []),
    ...more,
  ];
  return { params, flags };
}
