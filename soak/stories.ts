/** Every story there is. A new one is a file in this folder and a line here. */
import { creationKills } from "./creation-kills.ts";
import { cutOff } from "./cut-off.ts";
import { failOver } from "./fail-over.ts";
import { migrationKills } from "./migration-kills.ts";
import { severalServers } from "./several-servers.ts";
import { simulate, simulateLong } from "./simulate.ts";
import { etcdKills, sqliteKills } from "./store-kills.ts";
import type { Story } from "./story.ts";

export const stories: readonly Story[] = [
  creationKills,
  migrationKills,
  cutOff,
  failOver,
  severalServers,
  sqliteKills,
  etcdKills,
  simulate,
  simulateLong,
];
