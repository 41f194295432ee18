/** `sheaf apply|get|delete -f`: documents of the same shape as the API's records, in YAML or JSON, several to a file. */
import { kinds, plurals, SheafError, type Kind } from "@sheaf/model";
import type { Client } from "@sheaf/client";
import type { Command } from "commander";
import { parseAllDocuments, stringify } from "yaml";
import { scoped, type Cli } from "../cli.ts";
import { difference } from "../difference.ts";
import { show, showOne, text, type Row } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { listArgument } from "./arguments.ts";
import { idColumn, listAll, nameColumn } from "./listing.ts";

interface Document {
  readonly kind: Exclude<Kind, "task" | "token">;
  readonly name: string;
  readonly project?: string;
  readonly displayName?: string;
  readonly labels?: Record<string, string>;
  readonly number?: number;
  readonly spec: Record<string, unknown>;
}

/** What a client may send; everything else in a record that was fetched before is Sheaf's own and left out. */
const sent = ["name", "project", "displayName", "labels", "number", "spec"] as const;
/** Things refer to those before them: networks and images before machines. */
const order: readonly Kind[] = ["project", "role", "user", "cluster", "host", "pool", "network", "image", "volume", "vm"];

export function documentCommands(program: Command, cli: Cli): void {
  program
    .command("apply")
    .description("create or change what files describe")
    .requiredOption("-f, --file <file>", "YAML or JSON; repeatable; - reads standard input", listArgument)
    .option("--dry-run", "show the differences, change nothing")
    .option("--wait", "until everything has taken effect")
    .addHelpText(
      "after",
      "\nExamples:\n  sheaf apply -f web.yaml --dry-run\n  sheaf get vm web-01 -o yaml > web.yaml; edit web.yaml; sheaf apply -f web.yaml --wait",
    )
    .action(async (options: { file: string[]; dryRun?: boolean; wait?: boolean }) => {
      const tasks: string[] = [];
      const documents = await readDocuments(cli, options.file);
      for (const document of documents.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))) {
        const task = await applyOne(cli, document, options.dryRun ?? false);
        if (task !== undefined) tasks.push(task);
      }
      if (options.wait && !options.dryRun) await waitForTasks(cli, tasks, "applied");
    });

  program
    .command("get <kind> [names...]")
    .description("show records as documents, ready for apply with -o yaml")
    .action(async (word: string, names: string[]) => {
      const kind = kindOf(word);
      const client = await cli.client();
      const records =
        names.length === 0
          ? await listAll(cli, kind, {})
          : await Promise.all(names.map(async (id) => (await client[kind].get({ params: { id }, query: scoped(cli) })) as Row)); // records are rows
      const { output } = cli.options();
      if (output === "yaml")
        cli.terminal.out(
          records
            .map((record) => stringify({ kind, ...pick(record) }))
            .join("---\n")
            .trimEnd(),
        );
      else if (records.length === 1 && names.length === 1 && output === "json") showOne(cli, records[0] as Row /* just counted */);
      else
        show(cli, records, [
          nameColumn,
          idColumn,
          { title: "KIND", value: () => kind },
          { title: "STATE", value: (row) => text(row, "state") },
          { title: "GENERATION", value: (row) => text(row, "generation") },
        ]);
    });

  program
    .command("delete")
    .description("delete what files describe")
    .requiredOption("-f, --file <file>", "YAML or JSON; repeatable", listArgument)
    .option("--wait", "until it is gone")
    .action(async (options: { file: string[]; wait?: boolean }) => {
      const client = await cli.client();
      const tasks: string[] = [];
      const documents = await readDocuments(cli, options.file);
      for (const document of documents.toSorted((a, b) => order.indexOf(b.kind) - order.indexOf(a.kind))) {
        try {
          const { task } = await client[document.kind].delete({ params: { id: document.name }, query: projectOf(cli, document) });
          if (task !== undefined) tasks.push(task);
          cli.terminal.out(`${document.kind} ${document.name}: ${task === undefined ? "deleted" : "is being deleted"}`);
        } catch (error) {
          if (!(error instanceof SheafError && error.code === "not-found")) throw error;
          cli.terminal.out(`${document.kind} ${document.name}: is not there`);
        }
      }
      if (options.wait) await waitForTasks(cli, tasks, "deleted");
    });
}

const projectOf = (cli: Cli, document: Document): { project?: string } =>
  document.project === undefined ? scoped(cli) : { project: document.project };

async function applyOne(cli: Cli, document: Document, dryRun: boolean): Promise<string | undefined> {
  const client = await cli.client();
  const query = projectOf(cli, document);
  const body = pick(document);
  let before: Row | undefined;
  try {
    before = (await client[document.kind].get({ params: { id: document.name }, query })) as Row; // records are rows
  } catch (error) {
    if (!(error instanceof SheafError && error.code === "not-found")) throw error;
  }
  const label = `${document.kind} ${document.name}`;
  if (before === undefined) {
    if (document.kind === "host")
      throw new SheafError("not-found", `There is no host ${document.name}; hosts join, they are not created.`, { next: "Run `sheaf host add`." });
    const create = client[document.kind].create as Client["vm"]["create"]; // one signature for all kinds: the server checks the body
    const { record, task } = await create({
      query: { ...query, dryRun },
      body: body as never /* checked by the server */,
      ...(dryRun ? {} : { idempotencyKey: cli.newKey() }),
    });
    cli.terminal.out(`${label}: ${dryRun ? "would be created" : "created"}`);
    if (dryRun) cli.terminal.out(difference("", stringify(pick(record as Row)), cli.terminal.colors));
    return task;
  }
  const replace = client[document.kind].replace as Client["vm"]["replace"]; // as above
  const input = { params: { id: String(before["id"]) }, body: body as never /* checked by the server */, ifMatch: Number(before["specRevision"]) };
  const planned = await replace({ ...input, query: { ...query, dryRun: true } });
  const changes = difference(stringify(pick(before)), stringify(pick(planned.record as Row)), cli.terminal.colors);
  if (changes === "") {
    cli.terminal.out(`${label}: unchanged`);
    return undefined;
  }
  if (dryRun) {
    cli.terminal.out(`${label}: would change\n${changes}`);
    return undefined;
  }
  const { task } = await replace({ ...input, query });
  cli.terminal.out(`${label}: changed`);
  return task;
}

function pick(record: object): Record<string, unknown> {
  const all = record as Record<string, unknown>; // read field by field
  return Object.fromEntries(sent.flatMap((field) => (all[field] === undefined ? [] : [[field, all[field]]])));
}

async function readDocuments(cli: Cli, files: readonly string[]): Promise<Document[]> {
  const documents: Document[] = [];
  for (const file of files) {
    for (const parsed of parseAllDocuments(await cli.readFile(file), { uniqueKeys: true })) {
      const [error] = parsed.errors;
      if (error)
        throw new SheafError("invalid-input", `${file} is not valid YAML or JSON: ${error.message.split("\n")[0] ?? ""}`, {
          next: "Mend the file; nothing was changed.",
        });
      // Aliases are counted, so that a small file cannot grow into a huge one.
      const content: unknown = parsed.toJS({ maxAliasCount: 100 });
      if (content === null || content === undefined) continue;
      for (const each of Array.isArray(content) ? content : [content]) documents.push(checked(each, file));
    }
  }
  if (documents.length === 0) throw new SheafError("invalid-input", `${files.join(", ")}: there is no document in it.`);
  return documents;
}

function checked(value: unknown, file: string): Document {
  const wrong = (why: string): never => {
    throw new SheafError("invalid-input", `${file}: ${why}`, { next: "Each document needs kind, name and spec; nothing was changed." });
  };
  if (typeof value !== "object" || value === null) return wrong("a document is no mapping");
  const { kind, name, spec } = value as Record<string, unknown>; // looked at below
  if (typeof kind !== "string" || !order.includes(kind as Kind)) return wrong(`kind ${JSON.stringify(kind)} is none of ${order.join(", ")}`);
  if (typeof name !== "string") return wrong(`a ${kind} has no name`);
  if (typeof spec !== "object" || spec === null) return wrong(`${kind} ${name} has no spec`);
  return value as Document; // kind, name and spec were looked at; the server checks the rest
}

function kindOf(word: string): Document["kind"] {
  const kind = kinds.find((each) => each === word || plurals[each] === word);
  if (kind === undefined || kind === "task" || kind === "token")
    throw new SheafError("invalid-input", `${word} is no kind of document.`, { next: `Give one of ${order.join(", ")}.` });
  return kind;
}
