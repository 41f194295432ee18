/** Every scoring policy by name; a new one is a file beside this, a line here and its name in the model. */
import type { PlacementPolicyName } from "@sheaf/model";
import type { ScoringPolicy } from "../scoring-policy.ts";
import { article } from "./article.ts";
import { balanced } from "./balanced.ts";
import { energy } from "./energy.ts";
import { fragmentation } from "./fragmentation.ts";
import { pack } from "./pack.ts";
import { priority } from "./priority.ts";
import { spread } from "./spread.ts";

export const policies: Readonly<Record<PlacementPolicyName, ScoringPolicy>> = { balanced, spread, pack, fragmentation, energy, priority, article };
