/** Every route's handler, by the route's name. A route without one does not start. */
import { allRoutes } from "@sheaf/contract";
import { kinds } from "@sheaf/model";
import type { AnyHandler } from "./call.ts";
import { balanceHandlers } from "./balance-handlers.ts";
import { hostHandlers } from "./host-handlers.ts";
import { identityHandlers } from "./identity-handlers.ts";
import { recordHandlers } from "./record-handlers.ts";
import { rightSizingHandlers } from "./right-sizing-handlers.ts";
import { serverHandlers } from "./server-handlers.ts";
import { siteHandlers } from "./site-handlers.ts";
import { telemetryHandlers } from "./telemetry-handlers.ts";
import { vmHandlers } from "./vm-handlers.ts";

/** @throws Error naming what is missing or superfluous */
export function handlerTable(): ReadonlyMap<string, AnyHandler> {
  const table = new Map<string, AnyHandler>();
  // Special ones first: a kind's own way of creating is not the common one.
  for (const [name, handler] of [
    ...vmHandlers,
    ...hostHandlers,
    ...balanceHandlers,
    ...telemetryHandlers,
    ...rightSizingHandlers,
    ...identityHandlers,
    ...siteHandlers,
    ...serverHandlers,
    ...kinds.flatMap(recordHandlers),
  ])
    if (!table.has(name)) table.set(name, handler);
  const names = new Set(allRoutes.map((route) => route.name));
  const missing = [...names].filter((name) => !table.has(name));
  const superfluous = [...table.keys()].filter((name) => !names.has(name));
  if (missing.length > 0 || superfluous.length > 0)
    throw new Error(`routes without handler: ${missing.join(", ") || "none"}; handlers without route: ${superfluous.join(", ") || "none"}`);
  return table;
}
