/** Every scoring policy by name; a new one is a file beside this and a line here. */
import type { ScoringPolicy } from "../scoring-policy.ts";
import { article } from "./article.ts";
import { pack } from "./pack.ts";
import { spread } from "./spread.ts";

export const policies: Readonly<Record<string, ScoringPolicy>> = { spread, pack, article };
