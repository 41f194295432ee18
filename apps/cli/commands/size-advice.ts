/** `sheaf vm advice`: which size machines need by what they have used, and following or dismissing it. */
import { formatBytes } from "@sheaf/base";
import type { Client } from "@sheaf/client";
import { rightSizingLabel, type SizeVerdict, sizeVerdicts } from "@sheaf/model";
import { type Command, InvalidArgumentError, Option } from "commander";
import { scoped, type Cli } from "../cli.ts";
import { show, showOne } from "../output.ts";
import { waitForTasks } from "../wait.ts";
import { countArgument, machinesArgument } from "./arguments.ts";

interface Options {
  readonly cluster?: string;
  readonly verdict?: SizeVerdict;
  readonly dismissed?: boolean;
  readonly skip: number;
  readonly count: number;
  readonly apply?: boolean;
  readonly wait?: boolean;
  readonly dismiss?: boolean;
  readonly until?: string;
  readonly recall?: boolean;
}

type Advice = Awaited<ReturnType<Client["vm"]["advice"]>>;

export function addSizeAdvice(vm: Command, cli: Cli): void {
  vm.command("advice [name]")
    .description("which size a machine needs by what it has used in fourteen days; without a name: all that are too small, too large or idle")
    .option("--cluster <cluster>", "of that cluster alone")
    .addOption(new Option("--verdict <verdict>", "only those").choices([...sizeVerdicts]))
    .option("--dismissed", "with those that were dismissed")
    .option("--count <count>", "how many, up to 1000", machinesArgument, 100)
    .option("--skip <count>", "leave out so many", countArgument, 0)
    .option("--apply", "give the machine the size that is suggested")
    .option("--wait", "with --apply: until it has taken effect or waits for the next start")
    .option("--dismiss", "advise nothing for this machine any more")
    .option("--until <day>", "with --dismiss: from this day on again, such as 2027-03-01", dayArgument)
    .option("--recall", "take a dismissal back")
    .action(async (id: string | undefined, options: Options) => {
      const client = await cli.client();
      if (id === undefined) {
        if (options.apply || options.dismiss || options.recall)
          throw new InvalidArgumentError("Name the machine that is to be changed: each is a decision of its own.");
        return list(cli, client, options);
      }
      if (options.dismiss || options.recall) {
        const wish = options.recall ? null : (options.until ?? "off");
        await client.vm.change({ params: { id }, query: scoped(cli), body: { labels: { [rightSizingLabel]: wish } } });
        return cli.terminal.note(
          `${id}: ${wish === null ? "advice is given again" : `no advice ${options.until ? `until ${options.until}` : "any more"}`}`,
        );
      }
      const advice = await client.vm.advice({ params: { id }, query: scoped(cli) });
      if (options.apply) return apply(cli, client, id, advice, options.wait === true);
      if (!["table", "wide"].includes(cli.options().output)) return showOne(cli, advice);
      for (const line of adviceLines(advice)) cli.terminal.out(line);
    });
}

async function list(cli: Cli, client: Client, { cluster, verdict, dismissed, skip, count }: Options): Promise<void> {
  const found = await client.vm.listAdvice({ query: { ...scoped(cli), cluster, verdict, dismissed: dismissed === true, skip, count } });
  const change = (now: string, then: string): string => (now === then ? now : `${now} → ${then}`);
  show(cli, found.items, [
    { title: "NAME", value: ({ name }) => name },
    { title: "VERDICT", value: (row) => `${row.verdict}${row.dismissed ? " (dismissed)" : ""}` },
    { title: "CPUS", value: ({ given, suggested }) => change(String(given.cpus), String(suggested.cpus)) },
    { title: "MEMORY", value: ({ given, suggested }) => change(memoryText(given.memoryBytes), memoryText(suggested.memoryBytes)) },
    { title: "GIVES BACK", value: ({ saving }) => sizeText(saving) },
    { title: "CONFIDENCE", value: ({ confidence }) => confidence },
    { title: "DAYS", value: ({ days }) => days.toFixed(1), wide: true },
    { title: "WHY", value: ({ reasons }) => reasons.join("; "), wide: true },
    { title: "ID", value: (row) => row.id, wide: true },
  ]);
  const { verdicts, saving, total, waiting } = found;
  const counts = sizeVerdicts.map((each) => `${verdicts[each]} ${each}`).join(", ");
  cli.terminal.note(`${counts}${waiting > 0 ? `; ${waiting} not looked at yet` : ""}. These ${total} ${balanceText(saving)}.`);
}

function adviceLines(advice: Advice): string[] {
  const { name, verdict, given, suggested, saving, confidence, reasons, risks, dismissed } = advice;
  const lines = [`${name}: ${words[verdict]}${dismissed ? " (dismissed)" : ""}${confidence === "none" ? "" : `, confidence ${confidence}`}`];
  lines.push(...reasons.map((reason) => `  ${reason}`));
  if (verdict === "right" || verdict === "unknown") return lines;
  lines.push(`Now ${sizeText(given)}; ${verdict === "idle" ? "if it is to stay, " : ""}${sizeText(suggested)} would do.`);
  const share = `${Math.abs(saving.cpuPercent)} % of its cluster's CPUs and ${Math.abs(saving.memoryPercent)} % of its memory`;
  lines.push(`${verdict === "idle" ? "Stopping it would" : "That would"} ${balanceText(saving)}: ${share}.`);
  lines.push(...risks.map((risk) => `  Risk: ${risk}.`));
  if (verdict === "idle") lines.push(`\`sheaf vm stop ${name}\` stops it.`);
  lines.push(...nextStep(advice));
  return lines;
}

const words = {
  idle: "idle",
  "too-large": "too large",
  "too-small": "too small",
  right: "has the size that it needs",
  unknown: "not enough is known",
} as const;

function nextStep({ name, given, suggested, effect }: Advice): string[] {
  const cpus = suggested.cpus === given.cpus ? "" : ` --cpus ${suggested.cpus}`;
  const memory = suggested.memoryBytes === given.memoryBytes ? "" : ` --memory ${exactBytes(suggested.memoryBytes)}`;
  if (cpus === "" && memory === "") return [];
  const when = (what: string, at: Advice["effect"]["cpus"]): string[] =>
    at === "nothing" ? [] : [`${what} ${at === "now" ? "while it runs" : "at its next start"}`];
  const effects = [...when("CPUs", effect.cpus), ...when("memory", effect.memory)].join(", ");
  return [`\`sheaf vm resize ${name}${cpus}${memory}\` (or \`sheaf vm advice ${name} --apply\`) changes it: ${effects}.`];
}

async function apply(cli: Cli, client: Client, id: string, advice: Advice, wait: boolean): Promise<void> {
  const { given, suggested, effect } = advice;
  const spec = {
    // One socket with all of them, as `vm resize` does.
    ...(suggested.cpus === given.cpus ? {} : { cpu: { count: suggested.cpus, topology: null } }),
    ...(suggested.memoryBytes === given.memoryBytes ? {} : { memory: { bytes: suggested.memoryBytes } }),
  };
  if (Object.keys(spec).length === 0) return cli.terminal.note(`${advice.name}: ${words[advice.verdict]}; nothing is changed`);
  const { task } = await client.vm.change({ params: { id }, query: scoped(cli), body: { spec } });
  if (wait && task !== undefined) return waitForTasks(cli, [task], "resized");
  const later = effect.cpus === "next-start" || effect.memory === "next-start";
  cli.terminal.note(`${advice.name}: ${sizeText(suggested)}${later ? "; in part at its next start" : ""}`);
}

interface Size {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** Sizes that are advised are whole: none is shown rounded. */
const memoryText = (bytes: number): string => (bytes % 2 ** 29 === 0 ? formatBytes(bytes) : `${bytes / 2 ** 20} MiB`);
const cpusText = (cpus: number): string => (Math.abs(cpus) === 1 ? `${cpus} vCPU` : `${cpus} vCPUs`);
const sizeText = ({ cpus, memoryBytes }: Size): string => `${cpusText(cpus)}, ${memoryText(memoryBytes)}`;

/** What is less than nothing is taken. */
function balanceText({ cpus, memoryBytes }: Size): string {
  const parts = [
    { amount: cpus, text: cpusText(Math.abs(cpus)) },
    { amount: memoryBytes, text: memoryText(Math.abs(memoryBytes)) },
  ];
  const of = (sign: number): string => parts.flatMap(({ amount, text }) => (Math.sign(amount) === sign ? [text] : [])).join(" and ");
  const [back, more] = [of(1), of(-1)];
  const sentences = [...(back === "" ? [] : [`give back ${back}`]), ...(more === "" ? [] : [`take ${more} more`])];
  return sentences.join(" and ") || "change nothing";
}

/** As it is typed: whole. */
const exactBytes = (bytes: number): string => (bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}GiB` : `${bytes / 2 ** 20}MiB`);

function dayArgument(text: string): string {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text) || Number.isNaN(Date.parse(text))) throw new InvalidArgumentError("Give a day such as 2027-03-01.");
  return text;
}
