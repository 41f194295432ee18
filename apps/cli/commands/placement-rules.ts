/** Options of `sheaf vm create` that say which neighbours a machine wants, and which not. */
import { GroupRule, type Neighbours } from "@sheaf/model";
import { type Command, InvalidArgumentError, Option } from "commander";
import { listArgument } from "./arguments.ts";

export interface PlacementRuleOptions {
  apart?: GroupRule[];
  together?: GroupRule[];
  preferApart?: GroupRule[];
  preferTogether?: GroupRule[];
  neighbours?: Neighbours;
  class?: string;
  licence?: string[];
  preemptible?: boolean;
}

export function addPlacementRules(command: Command): Command {
  return command
    .option(
      "--apart <group>",
      "share no host with others of the group; web/rack: no rack, web/zone:2: at most two a zone; repeatable",
      rules("apart"),
    )
    .option("--together <group>", "share a host (web/rack: a rack) with others of the group; repeatable", rules("together"))
    .option("--prefer-apart <group>", "the same where it can be; repeatable", rules("apart", true))
    .option("--prefer-together <group>", "the same where it can be; repeatable", rules("together", true))
    .addOption(new Option("--neighbours <kind>", "kept away from each other").choices(["noisy", "sensitive"]))
    .option("--class <class>", "overcommitted as the cluster says of this class")
    .option("--licence <licence>", "run only where the cluster has this licence; repeatable", listArgument)
    .option("--preemptible", "may be stopped for a more important machine that fits nowhere");
}

export function placementRules(options: PlacementRuleOptions) {
  const { apart = [], together = [], preferApart = [], preferTogether = [], neighbours, licence } = options;
  const all = [...apart, ...together, ...preferApart, ...preferTogether];
  return {
    ...(all.length === 0 ? {} : { rules: all }),
    ...(neighbours === undefined ? {} : { neighbours }),
    ...(options.class === undefined ? {} : { class: options.class }),
    ...(licence === undefined ? {} : { licences: licence }),
    ...(options.preemptible ? { preemptible: true } : {}),
  };
}

const rules =
  (keep: GroupRule["keep"], preferred = false) =>
  (text: string, before: readonly GroupRule[] = []): GroupRule[] => {
    const [, group, within, limit] = /^([^/:]+)(?:\/([^/:]+))?(?::(\d+))?$/.exec(text) ?? [];
    const rule = GroupRule.safeParse({
      group,
      keep,
      preferred,
      ...(within === undefined ? {} : { within }),
      ...(limit === undefined ? {} : { limit: Number(limit) }),
    });
    if (!rule.success) throw new InvalidArgumentError(`such as web, web/rack${keep === "apart" ? ", web/zone or web/host:2" : " or web/zone"}.`);
    return [...before, rule.data];
  };
