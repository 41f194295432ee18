/** The real terminal. Only main.ts makes one. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { SheafError } from "@sheaf/model";
import type { Terminal } from "./cli.ts";
import { width } from "./output.ts";

export function realTerminal(quiet: () => boolean): Terminal {
  const { stdin, stdout, stderr, env } = process;
  const colors = stdout.isTTY === true && env["NO_COLOR"] === undefined && env["TERM"] !== "dumb";
  const interactive = stdin.isTTY === true && stderr.isTTY === true;
  let progressShown = false;
  const clear = (): void => {
    if (progressShown) stderr.write("\r\u001b[K");
    progressShown = false;
  };
  return {
    colors,
    interactive,
    out(text) {
      clear();
      stdout.write(`${text}\n`);
    },
    note(text) {
      clear();
      if (!quiet()) stderr.write(`${text}\n`);
    },
    progress(text, share) {
      if (quiet() || stderr.isTTY !== true) return;
      clear();
      if (text === "") return;
      stderr.write(progressLine(text, share, stderr.columns));
      progressShown = true;
    },
    async ask(question, options = {}) {
      if (!interactive)
        throw new SheafError("invalid-input", `There is no terminal to ask "${question.trim()}" on.`, {
          next: "Give it by an option; --help lists them.",
        });
      stderr.write(question);
      const muted = new Writable({ write: (_chunk, _encoding, done) => done() });
      const lines = createInterface({ input: stdin, output: options.hidden ? muted : stderr, terminal: true });
      try {
        return await lines.question("");
      } finally {
        lines.close();
        if (options.hidden) stderr.write("\n");
      }
    },
  };
}

/** One line that fits, with a bar before the text where it is known how far the work is. */
export function progressLine(text: string, share: number | undefined, columns: number): string {
  let line = share === undefined ? text : `${bar(share)}  ${text}`;
  while (width(line) >= columns) line = line.slice(0, -1);
  return line;
}

const barColumns = 20;
function bar(share: number): string {
  const part = Math.min(1, Math.max(0, share));
  const full = Math.floor(part * barColumns);
  return `[${"#".repeat(full)}${"-".repeat(barColumns - full)}] ${String(Math.floor(part * 100)).padStart(3)} %`;
}
