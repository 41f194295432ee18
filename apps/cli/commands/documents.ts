/** `sheaf apply|get|delete -f`: documents of the same shape as the API's records, in YAML or JSON, several to a file. */
import { kinds, plurals, SheafError, type Kind } from "@sheaf/model";
import type { Client } from "@sheaf/client";
import type { Command } from "commander";
import { parseAllDocuments, stringify, type Document as YamlDocument } from "yaml";
import { scoped, type Cli } from "../cli.ts";
import { difference } from "../difference.ts";
import { get, show, showOne, text, type Row } from "../output.ts";
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
/** Further fields of a record as it was shown; they are Sheaf's to write. */
const told = [
  "kind",
  "id",
  "generation",
  "createdAt",
  "createdBy",
  "deletedAt",
  "finalizers",
  "revision",
  "specRevision",
  "placement",
  "status",
  "state",
];
const known: ReadonlySet<string> = new Set([...sent, ...told]);
/** Things refer to those before them: networks and images before machines. */
const order: readonly Kind[] = ["project", "role", "user", "cluster", "host", "pool", "network", "image", "volume", "vm"];

export function documentCommands(program: Command, cli: Cli): void {
  program
    .command("apply")
    .description("create or change what files describe")
    .requiredOption("-f, --file <file>", "YAML or JSON; repeatable; - reads standard input", listArgument)
    .option("--dry-run", "show the differences, change nothing")
    .option("--wait", "until everything has taken effect")
    .action(async (options: { file: string[]; dryRun?: boolean; wait?: boolean }) => {
      const documents = await readDocuments(cli, options.file);
      // All is tried before any of it is done: one bad document leaves everything as it was.
      const plans: Plan[] = [];
      for (const document of documents.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind)))
        plans.push(await planOne(cli, document, plans));
      const tasks: string[] = [];
      for (const plan of plans) {
        const task = options.dryRun ? showPlan(cli, plan) : await carryOut(cli, plan);
        if (task !== undefined) tasks.push(task);
      }
      if (options.wait) await waitForTasks(cli, tasks, "applied");
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
      const remove = (document: Document) => client[document.kind].delete({ params: { id: document.name }, query: projectOf(cli, document) });
      for (const document of documents.toSorted((a, b) => order.indexOf(b.kind) - order.indexOf(a.kind))) {
        try {
          const { task } = await remove(document).catch(async (error: unknown) => {
            // By what these files delete too, and what is on its way out: it goes when that has gone.
            if (!isInUse(error) || tasks.length === 0) throw error;
            await waitForTasks(cli, tasks.splice(0), "deleted");
            return remove(document);
          });
          if (task !== undefined) tasks.push(task);
          cli.terminal.out(`${document.kind} ${document.name}: ${task === undefined ? "deleted" : "is being deleted"}`);
        } catch (error) {
          if (!isNotFound(error)) throw error;
          cli.terminal.out(`${document.kind} ${document.name}: is not there`);
        }
      }
      if (options.wait) await waitForTasks(cli, tasks, "deleted");
    });
}

const projectOf = (cli: Cli, document: Document): { project?: string } =>
  document.project === undefined ? scoped(cli) : { project: document.project };

/** What applying a document would do. */
interface Plan {
  readonly document: Document;
  /** Absent: it is to be created. */
  readonly before?: Row;
  /** Empty: nothing would change. */
  readonly changes: string;
}

const labelOf = ({ document }: Plan): string => `${document.kind} ${document.name}`;

async function planOne(cli: Cli, document: Document, earlier: readonly Plan[]): Promise<Plan> {
  const client = await cli.client();
  const query = projectOf(cli, document);
  const body = pick(document) as never; // checked by the server
  const { colors } = cli.terminal;
  let before: Row | undefined;
  try {
    before = (await client[document.kind].get({ params: { id: document.name }, query })) as Row; // records are rows
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  if (before === undefined && document.kind === "host")
    throw new SheafError("not-found", `There is no host ${document.name}; hosts join, they are not created.`, { next: "Run `sheaf host add`." });
  let planned: Row;
  try {
    planned = (
      before === undefined
        ? await create(client, document, { query: { ...query, dryRun: true }, body })
        : await replace(client, document, before, { ...query, dryRun: true })
    ).record as Row; // records are rows
  } catch (error) {
    if (!isNotFound(error) || !refersTo(document, error, earlier)) throw error;
    planned = { ...document }; // as it stands: what it refers to is made first
  }
  const shown = before === undefined ? "" : stringify(pick(before));
  return { document, ...(before === undefined ? {} : { before }), changes: difference(shown, stringify(pick(planned)), colors) };
}

/** Whether what is not there is a record that the same files create before it. */
function refersTo(document: Document, error: SheafError, earlier: readonly Plan[]): boolean {
  const created = new Set(earlier.filter(({ before }) => before === undefined).map((plan) => plan.document.name));
  return (error.extra.errors ?? []).some(({ at }) => created.has(String(get(document, at.replace(/^\//, "").replaceAll("/", ".")))));
}

function showPlan(cli: Cli, plan: Plan): undefined {
  const what = plan.before === undefined ? "would be created" : plan.changes === "" ? "unchanged" : "would change";
  cli.terminal.out(`${labelOf(plan)}: ${what}${plan.changes === "" ? "" : `\n${plan.changes}`}`);
}

/** @returns the task that is its receipt */
async function carryOut(cli: Cli, plan: Plan): Promise<string | undefined> {
  const client = await cli.client();
  const { document, before } = plan;
  const query = projectOf(cli, document);
  if (before !== undefined && plan.changes === "") {
    cli.terminal.out(`${labelOf(plan)}: unchanged`);
    return undefined;
  }
  const { task } =
    before === undefined
      ? await create(client, document, { query, body: pick(document) as never /* checked by the server */, idempotencyKey: cli.newKey() })
      : await replace(client, document, before, query);
  cli.terminal.out(`${labelOf(plan)}: ${before === undefined ? "created" : "changed"}`);
  return task;
}

type CreateInput = NonNullable<Parameters<Client["vm"]["create"]>[0]>;
function create(client: Client, { kind }: Document, input: CreateInput): ReturnType<Client["vm"]["create"]> {
  if (kind === "host") throw new SheafError("not-found", "Hosts join, they are not created.");
  return (client[kind].create as Client["vm"]["create"])(input); // one signature for all kinds: the server checks the body
}
function replace(client: Client, document: Document, before: Row, query: NonNullable<CreateInput["query"]>): ReturnType<Client["vm"]["replace"]> {
  const call = client[document.kind].replace as Client["vm"]["replace"]; // as above
  return call({
    params: { id: String(before["id"]) },
    query,
    body: pick(document) as never /* checked by the server */,
    ifMatch: Number(before["specRevision"]),
  });
}

const isInUse = (error: unknown): boolean => error instanceof SheafError && error.code === "in-use";
const isNotFound = (error: unknown): error is SheafError => error instanceof SheafError && error.code === "not-found";

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
        throw new SheafError(
          "invalid-input",
          `${file} is not valid YAML or JSON: ${/call stack/.test(error.message) ? "it is nested too deeply" : (error.message.split("\n")[0] ?? "")}`,
          {
            next: "Mend the file; nothing was changed.",
          },
        );
      // Aliases are counted, so that a small file cannot grow into a huge one.
      const content = plain(parsed, file);
      if (content === null || content === undefined) continue;
      for (const each of Array.isArray(content) ? content : [content]) documents.push(checked(each, file));
    }
  }
  if (documents.length === 0) throw new SheafError("invalid-input", `${files.join(", ")}: there is no document in it.`);
  const seen = new Set<string>();
  for (const { kind, name, project = "" } of documents) {
    if (seen.has(`${kind}/${project}/${name}`))
      throw new SheafError("invalid-input", `${files.join(", ")}: ${kind} ${name} stands there twice.`, {
        next: "Keep one of the two; nothing was changed.",
      });
    seen.add(`${kind}/${project}/${name}`);
  }
  return documents;
}

/** @throws SheafError `invalid-input` where YAML says what JSON cannot */
function plain(parsed: YamlDocument, file: string): unknown {
  const wrong = (why: string): SheafError => new SheafError("invalid-input", `${file}: ${why}`, { next: "Mend the file; nothing was changed." });
  let content: unknown;
  try {
    content = parsed.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
  try {
    // JSON would turn these into null, which may mean something else.
    JSON.stringify(content, (key, value: unknown) => {
      if (typeof value === "number" && !Number.isFinite(value)) throw wrong(`${key} is no number that can be sent`);
      return value;
    });
  } catch (error) {
    throw error instanceof SheafError ? error : wrong("it is nested too deeply, or holds itself");
  }
  return content;
}

function checked(value: unknown, file: string): Document {
  const wrong = (why: string): never => {
    throw new SheafError("invalid-input", `${file}: ${why}`, { next: "Each document needs kind, name and spec; nothing was changed." });
  };
  if (typeof value !== "object" || value === null) return wrong("a document is no mapping");
  const { kind, name, spec } = value as Record<string, unknown>; // looked at below
  if (kind === undefined) return wrong("a document has no kind");
  if (typeof kind !== "string" || !order.includes(kind as Kind)) return wrong(`kind ${JSON.stringify(kind)} is none of ${order.join(", ")}`);
  if (typeof name !== "string") return wrong(`a ${kind} has no name`);
  if (typeof spec !== "object" || spec === null) return wrong(`${kind} ${name} has no spec`);
  const strange = Object.keys(value).find((field) => !known.has(field));
  if (strange !== undefined) return wrong(`${kind} ${name} has a field ${JSON.stringify(strange)}, which no record has`);
  return value as Document; // kind, name and spec were looked at; the server checks the rest
}

function kindOf(word: string): Document["kind"] {
  const kind = kinds.find((each) => each === word || plurals[each] === word);
  if (kind === undefined || kind === "task" || kind === "token")
    throw new SheafError("invalid-input", `${word} is no kind of document.`, { next: `Give one of ${order.join(", ")}.` });
  return kind;
}
