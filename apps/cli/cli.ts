/** What every command is handed: the client, the terminal, the global options. Commands never touch `process` themselves. */
import type { Client } from "@sheaf/client";
import type { OutputFormat } from "./output.ts";

export interface GlobalOptions {
  readonly output: OutputFormat;
  readonly project?: string;
  readonly server?: string;
  readonly quiet: boolean;
}

export interface Terminal {
  out(text: string): void;
  /** Progress, hints and errors: never mixed into what a script reads. */
  note(text: string): void;
  /** Replaces the line last written by `progress`; does nothing where notes are no terminal. @param share of the work that is done, 0 to 1: drawn as a bar */
  progress(text: string, share?: number): void;
  readonly colors: boolean;
  readonly interactive: boolean;
  /** Asks on the terminal; `hidden` shows nothing of what is typed. */
  ask(question: string, options?: { readonly hidden?: boolean }): Promise<string>;
}

export interface Cli {
  readonly terminal: Terminal;
  options(): GlobalOptions;
  client(): Promise<Client>;
  /** Server-sent events and WebSockets need more than the client's transport. */
  connection(): Promise<Connection>;
  readFile(path: string): Promise<string>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  newKey(): string;
  /** Ends on Ctrl-C. */
  readonly interrupted: AbortSignal;
}

/** A signed-in server, as kept in the configuration file. */
export interface Connection {
  readonly url: string;
  readonly token?: string;
  /** PEM of the server's own authority; absent: the system's authorities are trusted. */
  readonly authority?: string;
  readonly user?: string;
}

/** Query with the global `--project`. */
export const scoped = (cli: Cli): { project?: string } => {
  const { project } = cli.options();
  return project === undefined ? {} : { project };
};
