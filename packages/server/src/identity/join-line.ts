/**
 * The line that `sheaf host add` prints. Nothing that the network says is run or trusted before it is found to be what the line names: the
 * script by its digest, the site's authority by its fingerprint, the agent's archive by its digest; so the first fetch may go without a
 * certificate that the new host cannot know yet. Runs under any POSIX shell, with curl or wget.
 */
import { createHash } from "node:crypto";
import type { AgentArchive } from "../context.ts";

export interface JoinLineInput {
  /** `https://name:7443` */
  readonly server: string;
  readonly script: string;
  readonly token: string;
  readonly fingerprint: string;
  readonly archives: readonly AgentArchive[];
}

/** Goes between single quotes, so it has none. Its arguments: address, digest of the script, the script's own. */
const fetchAndRun = [
  "f=$(mktemp)||exit 1",
  'trap "rm -f $f" 0',
  "u=$1 s=$2",
  "shift 2",
  'if command -v curl >/dev/null;then curl -fsSkm 60 "$u/join.sh" >"$f";else wget -qT 60 -t 2 --no-check-certificate -O "$f" "$u/join.sh";fi',
  'if ! echo "$s  $f"|sha256sum -c >/dev/null 2>&1;then echo "sheaf: $u did not send the script that this line was made for; nothing was run. Does this host reach that address, and has it curl or wget? Else ask for a new line: sheaf host add" >&2;exit 6;fi',
  'sh "$f" --server "$u" "$@"',
].join(";");

export function joinLine({ server, script, token, fingerprint, archives }: JoinLineInput): string {
  const words = ["--token", token, "--fingerprint", fingerprint, ...archives.flatMap(({ platform, sha256 }) => ["--agent", `${platform}=${sha256}`])];
  const digest = createHash("sha256").update(script).digest("hex");
  return ["sh", "-c", `'${fetchAndRun}'`, "sheaf", quoted(server), digest, ...words.map(quoted)].join(" ");
}

/** As it is where no shell would read anything else out of it. */
const quoted = (word: string): string => (/^[A-Za-z0-9_.:/=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`);
