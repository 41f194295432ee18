/** How far a migration has come, in the steps that people see of it. Told by the migration controller with each new state. Pure. */
import type { TaskProgress } from "@sheaf/model";
import type { MigrationState } from "./migrate.ts";

type Steps = NonNullable<TaskProgress["steps"]>;

/** Steps, with the states that stand for them; on the way back none is under way. */
const steps: readonly (readonly [name: string, states: readonly MigrationState[]])[] = [
  ["checked at the source", ["requested", "begun"]],
  ["target made ready", ["prepared"]],
  ["memory and disks copied", ["performed"]],
  ["handed over to the target", ["switched", "settling"]],
  ["cleared away at the source", ["finished"]],
];

export function migrationSteps(state: MigrationState): Steps {
  const now = state === "confirmed" ? steps.length : steps.findIndex(([, states]) => states.includes(state));
  return steps.map(([name], index) => ({ name, state: index < now ? "done" : index === now ? "running" : "waiting" }));
}
