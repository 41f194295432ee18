/** qemu-img and ip, as far as the agent uses them, on simulated files. */
import { z } from "zod";
import type { Processes, ProcessResult } from "../ports.ts";

/** Files as these programs reach them: at once. */
export interface ProgramFiles {
  text(path: string): string | null;
  put(path: string, content: string): void;
  remove(path: string): Promise<void>;
  /** All files below it. */
  paths(prefix: string): string[];
}

/** What a simulated disk's file holds. */
export const SimulatedDisk = z.object({ format: z.string(), sizeBytes: z.number(), backing: z.string().nullable(), data: z.string() });

const done = (output = ""): ProcessResult => ({ exitCode: 0, output, errorOutput: "" });
const failed = (errorOutput: string): ProcessResult => ({ exitCode: 1, output: "", errorOutput });

export class SimulatedProcesses implements Processes {
  readonly #files: ProgramFiles;
  /** Every run, as one line. */
  readonly runs: string[] = [];
  /** Programs that fail, with their last words; more words (`ip link add`) narrow it. */
  readonly broken = new Map<string, string>();

  /** Programs that do nothing, and say that all is well. */
  readonly succeeds = new Set<string>();
  /** Programs that never end, as on storage that hangs; named like the broken ones. */
  readonly hung = new Set<string>();

  constructor(files: ProgramFiles) {
    this.#files = files;
  }

  async run(program: string, words: readonly string[]): Promise<ProcessResult> {
    this.runs.push(`${program} ${words.join(" ")}`);
    const line = [program, ...words].join(" ");
    const problem = [...this.broken].find(([start]) => line === start || line.startsWith(`${start} `))?.[1];
    if (problem !== undefined) return failed(problem);
    if ([...this.hung].some((start) => line === start || line.startsWith(`${start} `))) await new Promise<never>(() => {});
    if (this.succeeds.has(line)) return { exitCode: 0, output: "", errorOutput: "" };
    if (program === "qemu-img") return this.#qemuImg(words);
    if (program === "ip") return this.#ip(words);
    return failed(`${program}: not found`);
  }

  #disk(path: string): z.infer<typeof SimulatedDisk> | null {
    const text = this.#files.text(path);
    if (text === null) return null;
    const disk = SimulatedDisk.safeParse(parse(text));
    // Anything else is an image's bytes: its size is what it is.
    return disk.data ?? { format: "raw", sizeBytes: text.length, backing: null, data: text };
  }

  #qemuImg(words: readonly string[]): ProcessResult {
    const [command] = words;
    const plain = positional(words.slice(1), ["-f", "-b", "-F", "-O"]);
    switch (command) {
      case "create": {
        const [path = "", size = "0"] = plain;
        const backing = option(words, "-b") ?? null;
        if (backing !== null && this.#disk(backing) === null)
          return failed(`qemu-img: ${path}: Could not open '${backing}': No such file or directory`);
        this.#files.put(path, JSON.stringify({ format: option(words, "-f"), sizeBytes: Number(size), backing, data: "" }));
        return done();
      }
      case "convert": {
        const [from = "", to = ""] = plain;
        const source = this.#disk(from);
        if (!source) return failed(`qemu-img: Could not open '${from}': No such file or directory`);
        this.#files.put(to, JSON.stringify({ ...source, format: option(words, "-O"), backing: null }));
        return done();
      }
      case "resize": {
        const [path = "", size = "0"] = plain;
        const disk = this.#disk(path);
        if (!disk) return failed(`qemu-img: Could not open '${path}'`);
        this.#files.put(path, JSON.stringify({ ...disk, sizeBytes: Number(size) }));
        return done();
      }
      case "info": {
        const disk = this.#disk(plain[0] ?? "");
        return disk
          ? done(
              JSON.stringify({
                format: disk.format,
                "virtual-size": disk.sizeBytes,
                "actual-size": 200_704,
                ...(disk.backing === null ? {} : { "backing-filename": disk.backing }),
              }),
            )
          : failed(`qemu-img: Could not open '${plain[0]}'`);
      }
      default:
        return failed(`qemu-img: Command not found: ${command}`);
    }
  }

  #ip(words: readonly string[]): ProcessResult {
    const text = words.join(" ");
    if (text.startsWith("-j addr")) return done("[]");
    const added = /^link add (?:link \S+ )?name (\S+) type (bridge|vlan)/.exec(text);
    if (added) {
      this.#files.put(`/sys/class/net/${added[1]}/address`, "52:54:00:00:00:01");
      if (added[2] === "bridge") this.#files.put(`/sys/class/net/${added[1]}/bridge/stp_state`, "0");
      return done();
    }
    const gone = /^link delete dev (\S+)/.exec(text)?.[1];
    const port = /^link set dev (\S+) (?:master (\S+)|nomaster)/.exec(text);
    for (const name of [gone, port?.[1]])
      if (name !== undefined)
        for (const path of this.#files.paths("/sys/class/net")) if (path.endsWith(`/brif/${name}`)) void this.#files.remove(path);
    if (gone !== undefined) void this.#files.remove(`/sys/class/net/${gone}`);
    if (port?.[2] !== undefined) this.#files.put(`/sys/class/net/${port[2]}/brif/${port[1]}`, "");
    return done();
  }
}

const option = (words: readonly string[], name: string): string | undefined => {
  const at = words.indexOf(name);
  return at < 0 ? undefined : words[at + 1];
};

/** Words that are neither options nor options' values. */
function positional(words: readonly string[], withValue: readonly string[]): string[] {
  return words.filter((word, index) => !word.startsWith("-") && !withValue.includes(words[index - 1] ?? ""));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
