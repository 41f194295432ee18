/** `sheaf image …`, `sheaf volume …`, `sheaf pool …` */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { fillPath, toError } from "@sheaf/client";
import { apiPrefix, rawRoutes } from "@sheaf/contract";
import { formatBytes } from "@sheaf/base";
import { SheafError } from "@sheaf/model";
import { InvalidArgumentError, type Command } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { httpsTransport, flat, readText } from "../https-transport.ts";
import { bytes, get, showOne, text, type Row } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { bytesArgument, listArgument } from "./arguments.ts";
import { addDelete, addListing, idColumn, nameColumn } from "./listing.ts";

const types = ["disk", "iso"] as const;

export function storageCommands(program: Command, cli: Cli): void {
  const image = program.command("image").description("what disks are cloned from");
  addListing(image, cli, "image", [
    nameColumn,
    idColumn,
    { title: "NUMBER", value: (row) => text(row, "number") },
    { title: "STATE", value: (row) => text(row, "status.library.state") },
    { title: "TYPE", value: (row) => text(row, "spec.type") },
    { title: "SIZE", value: (row) => bytes(get(row, "status.library.virtualSizeBytes")) },
    { title: "FILE", value: (row) => bytes(get(row, "status.library.fileBytes")) },
    { title: "PROBLEM", value: (row) => text(row, "status.library.problem"), wide: true },
  ]);
  image
    .command("import <name> <file-or-url>")
    .description("import a qcow2, raw, vmdk, vdi, vhdx or ISO file (also .xz, .gz, .zst), from here or by URL")
    .option("--checksum <sum>", "sha256:… or sha512:… of the file as it is")
    .option("--type <type>", "disk or iso; default: by the file's ending", (value) => {
      const type = types.find((each) => each === value);
      if (type === undefined) throw new InvalidArgumentError("Give disk or iso.");
      return type;
    })
    .option("--public", "usable by every project")
    .option("--wait", "until it is ready")
    .action(async (name: string, source: string, options: { checksum?: string; type?: (typeof types)[number]; public?: boolean; wait?: boolean }) => {
      const client = await cli.client();
      const isUrl = /^https?:\/\//.test(source);
      const size = isUrl ? 0 : await sizeOf(source);
      const { record, task } = await client.image.create({
        query: scoped(cli),
        idempotencyKey: cli.newKey(),
        body: {
          name,
          spec: {
            source: isUrl ? { url: source } : { upload: true },
            type: options.type ?? (/\.iso(\.|$)/.test(source) ? "iso" : "disk"),
            public: options.public ?? false,
            ...(options.checksum === undefined ? {} : { checksum: options.checksum }),
          },
        },
      });
      if (!isUrl) await upload(cli, record.id, source, size);
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "imported");
      showOne(cli, (options.wait ? await client.image.get({ params: { id: record.id } }) : record) as Row); // a record is a row
    });
  image
    .command("upload <name> <file>")
    .description("go on with an upload that was interrupted")
    .action(async (name: string, file: string) => {
      const { id } = await (await cli.client()).image.get({ params: { id: name }, query: scoped(cli) });
      await upload(cli, id, file, await sizeOf(file));
    });
  addDelete(image, cli, "image");

  const volume = program.command("volume").description("virtual disks");
  addListing(volume, cli, "volume", [
    nameColumn,
    idColumn,
    { title: "STATE", value: (row) => text(row, "status.agent.state") ?? "waiting" },
    { title: "SIZE", value: (row) => bytes(get(row, "spec.sizeBytes")) },
    { title: "ALLOCATED", value: (row) => bytes(get(row, "status.agent.allocatedBytes")) },
    { title: "FORMAT", value: (row) => text(row, "spec.format") },
    { title: "PATH", value: (row) => text(row, "status.agent.path"), wide: true },
  ]);
  volume
    .command("create <name>")
    .description("create an empty disk, or one from an image")
    .requiredOption("--size <size>", "such as 10GiB", bytesArgument)
    .option("--pool <pool>", "storage pool", "default")
    .option("--image <image>", "starts as this image")
    .option("--host <host>", "host to keep it on (local pools)")
    .option("--wait", "until it is there")
    .action(async (name: string, options: { size: number; pool: string; image?: string; host?: string; wait?: boolean }) => {
      const client = await cli.client();
      const { record, task } = await client.volume.create({
        query: scoped(cli),
        idempotencyKey: cli.newKey(),
        body: {
          name,
          spec: {
            pool: options.pool,
            sizeBytes: options.size,
            ...(options.image === undefined ? {} : { source: { image: options.image } }),
            ...(options.host === undefined ? {} : { host: options.host }),
          },
        },
      });
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "created");
      showOne(cli, record as Row); // a record is a row
    });
  volume
    .command("resize <name> <size>")
    .description("grow a disk; a running guest sees it at once")
    .option("--wait", "until it has grown")
    .action(async (id: string, size: string, options: { wait?: boolean }) => {
      const { task } = await (
        await cli.client()
      ).volume.change({ params: { id }, query: scoped(cli), body: { spec: { sizeBytes: bytesArgument(size) } } });
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "resized");
    });
  volume
    .command("attach <volume> <vm>")
    .description("give a disk to a machine")
    .option("--as <name>", "name of the disk in the machine; default: the volume's")
    .option("--wait", "until the guest has it")
    .action(async (volumeName: string, vm: string, options: { as?: string; wait?: boolean }) => {
      const client = await cli.client();
      const machine = await client.vm.get({ params: { id: vm }, query: scoped(cli) });
      const { id, name } = await client.volume.get({ params: { id: volumeName }, query: scoped(cli) });
      const disks = [...machine.spec.disks, { name: options.as ?? name, volume: id, deleteWithVm: false }];
      const { task } = await client.vm.change({ params: { id: machine.id }, body: { spec: { disks } }, ifMatch: machine.specRevision });
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "attached");
    });
  volume
    .command("detach <volume> <vm>")
    .description("take a disk from a machine; the disk stays")
    .option("--wait", "until the guest has let go")
    .action(async (volumeName: string, vm: string, options: { wait?: boolean }) => {
      const client = await cli.client();
      const machine = await client.vm.get({ params: { id: vm }, query: scoped(cli) });
      const disks = machine.spec.disks.filter((disk) => disk.volume !== volumeName && disk.name !== volumeName);
      if (disks.length === machine.spec.disks.length) {
        const { id } = await client.volume.get({ params: { id: volumeName }, query: scoped(cli) });
        disks.splice(0, disks.length, ...machine.spec.disks.filter((disk) => disk.volume !== id));
      }
      const { task } = await client.vm.change({ params: { id: machine.id }, body: { spec: { disks } }, ifMatch: machine.specRevision });
      if (options.wait && task !== undefined) await waitForTasks(cli, [task], "detached");
    });
  addDelete(volume, cli, "volume");

  const pool = program.command("pool").description("storage pools");
  addListing(pool, cli, "pool", [
    nameColumn,
    idColumn,
    { title: "TYPE", value: (row) => text(row, "spec.type") },
    { title: "PATH", value: (row) => text(row, "spec.path") },
    { title: "HOSTS", value: (row) => Object.keys((get(row, "status.hosts") as object | undefined) ?? {}).length },
    { title: "FREE", value: (row) => poolFree(row) },
  ]);
  pool
    .command("create <name>")
    .description("create a pool: a directory on each host, or one that hosts share")
    .requiredOption("--path <path>", "directory on the hosts")
    .option("--shared", "all hosts see the same directory")
    .option("--host <host>", "hosts that have it; repeatable; default: all", listArgument)
    .action(async (name: string, options: { path: string; shared?: boolean; host?: string[] }) => {
      showOne(
        cli,
        (
          await (
            await cli.client()
          ).pool.create({
            idempotencyKey: cli.newKey(),
            body: {
              name,
              spec: { type: options.shared ? "shared" : "local", path: options.path, ...(options.host === undefined ? {} : { hosts: options.host }) },
            },
          })
        ).record as Row,
      ); // a record is a row
    });
  addDelete(pool, cli, "pool");
}

function poolFree(row: Row): string | undefined {
  const hosts = Object.values((get(row, "status.hosts") as Record<string, { availableBytes: number }> | undefined) ?? {});
  if (hosts.length === 0) return undefined;
  const free = hosts.map((host) => host.availableBytes);
  return formatBytes(text(row, "spec.type") === "shared" ? Math.min(...free) : free.reduce((sum, each) => sum + each, 0));
}

/** Looked at before anything is asked of the server. @throws SheafError `invalid-input` */
async function sizeOf(file: string): Promise<number> {
  try {
    const facts = await stat(file);
    if (facts.isFile()) return facts.size;
  } catch (error) {
    throw new SheafError("invalid-input", `${file} cannot be read.`, { cause: error instanceof Error ? error.message : String(error) });
  }
  throw new SheafError("invalid-input", `${file} is no file.`);
}

/** Sends a file from where the server's copy ends. */
async function upload(cli: Cli, id: string, file: string, size: number): Promise<void> {
  const https = httpsTransport(await cli.connection(), 3_600_000);
  const path = apiPrefix + fillPath(rawRoutes.imageContent.path, { id });
  try {
    const head = await https.stream(path, { method: "HEAD" });
    head.resume();
    const offset = Number(head.headers["upload-offset"] ?? 0);
    let sent = offset;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for await (const chunk of createReadStream(file, { start: offset, highWaterMark: 1 << 20 })) {
        sent += (chunk as Buffer).length; // no encoding is set
        cli.terminal.progress(`${basename(file)}: ${formatBytes(sent)} of ${formatBytes(size)}`, sent / Math.max(1, size));
        yield chunk as Buffer;
      }
    }
    const response = await https.stream(path, {
      method: "PUT",
      body: chunks(),
      headers: {
        "content-type": "application/octet-stream",
        "content-length": size - offset,
        ...(offset === 0 ? {} : { "content-range": `bytes ${offset}-${size - 1}/${size}` }),
      },
      signal: cli.interrupted,
    });
    const answer = await readText(response);
    cli.terminal.progress("");
    if ((response.statusCode ?? 0) >= 400) throw toError({ status: response.statusCode ?? 0, headers: flat(response), text: answer });
  } finally {
    https.close();
  }
}
