/** `sheaf login`, `logout`, `whoami`: who this command line is. */
import { createClient } from "@sheaf/client";
import { SheafError } from "@sheaf/model";
import type { Command } from "commander";
import type { Cli } from "../cli.ts";
import { configPath, readConfig, serverUrl, writeConfig } from "../config-file.ts";
import { fetchAuthority, httpsTransport } from "../https-transport.ts";
import { showOne } from "../output.ts";

export function sessionCommands(program: Command, cli: Cli): void {
  program
    .command("login <url>")
    .description("sign in to a server and remember it")
    .option("--user <name>", "user", "admin")
    .option("--password-file <file>", "file whose first line is the password; - reads standard input")
    .option("--ca-fingerprint <sha256>", "fingerprint the server's authority must have; else it is shown and asked for")
    .action(async (address: string, options: { user: string; passwordFile?: string; caFingerprint?: string }) => {
      const url = serverUrl(address);
      const authority = await fetchAuthority(url);
      if (options.caFingerprint !== undefined) {
        const wanted = options.caFingerprint
          .replace(/^sha256:/, "")
          .replaceAll(":", "")
          .toLowerCase();
        if (wanted !== authority.fingerprint)
          throw new SheafError("unauthenticated", `The server's authority has another fingerprint: ${authority.fingerprint}.`, {
            next: "Somebody may stand between you and the server. Compare with what the server printed at its start.",
          });
      } else if (cli.terminal.interactive) {
        cli.terminal.note(`The server's authority has the SHA-256 fingerprint\n  ${authority.fingerprint}\nThe server printed it at its start.`);
        if (!/^y(es)?$/i.test((await cli.terminal.ask("Is it the same? [y/N] ")).trim())) throw new SheafError("cancelled", "Not signed in.");
      } else
        throw new SheafError("invalid-input", "Without a terminal the authority's fingerprint must be given.", {
          next: "Add --ca-fingerprint; the server prints it at its start.",
        });
      const password =
        options.passwordFile === undefined
          ? await cli.terminal.ask(`Password of ${options.user}: `, { hidden: true })
          : ((await cli.readFile(options.passwordFile)).split("\n")[0] ?? "");
      const https = httpsTransport({ url, authority: authority.pem });
      try {
        const session = await createClient({ transport: https.transport }).session.signIn({ body: { user: options.user, password } });
        const path = configPath(cli.environment);
        const config = await readConfig(path);
        await writeConfig(path, {
          ...config,
          current: url,
          servers: { ...config.servers, [url]: { token: session.token, authority: authority.pem, user: session.user } },
        });
        cli.terminal.note(`Signed in to ${url} as ${session.user}.`);
      } finally {
        https.close();
      }
    });

  program
    .command("logout")
    .description("end this session")
    .action(async () => {
      const { url } = await cli.connection();
      await (await cli.client()).session.signOut();
      const path = configPath(cli.environment);
      const config = await readConfig(path);
      const { [url]: kept, ...others } = config.servers;
      await writeConfig(path, { ...config, servers: kept?.authority === undefined ? others : { ...others, [url]: { authority: kept.authority } } });
      cli.terminal.note(`Signed out of ${url}.`);
    });

  program
    .command("whoami")
    .description("who is signed in, and may do what")
    .action(async () => {
      const me = await (await cli.client()).session.whoAmI();
      showOne(cli, { name: me.user, server: (await cli.connection()).url, ...me });
    });
}
