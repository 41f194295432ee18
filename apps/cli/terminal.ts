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
    progress(text) {
      if (quiet() || stderr.isTTY !== true) return;
      clear();
      if (text === "") return;
      let line = text;
      while (width(line) >= stderr.columns) line = line.slice(0, -1);
      stderr.write(line);
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
