/** Every route there is. The server mounts this list, the client is inferred from it, openapi.json is generated from it. */
import { hostRoutes } from "./host-routes.ts";
import { hostNuma } from "./numa-routes.ts";
import {
  auditRoutes,
  clusterRoutes,
  imageRoutes,
  networkRoutes,
  poolRoutes,
  projectRoutes,
  roleRoutes,
  sessionRoutes,
  systemRoutes,
  taskRoutes,
  tokenRoutes,
  userRoutes,
  volumeRoutes,
} from "./other-routes.ts";
import { planRoutes } from "./placement-routes.ts";
import { rightSizingRoutes } from "./right-sizing-routes.ts";
import type { Route } from "./route.ts";
import { serverRoutes } from "./server-routes.ts";
import { hostTelemetry, vmTelemetry } from "./telemetry-routes.ts";
import { adoptVm, vmRoutes } from "./vm-routes.ts";

export const routes = {
  host: { ...hostRoutes, ...hostNuma, ...hostTelemetry },
  cluster: clusterRoutes,
  pool: poolRoutes,
  volume: volumeRoutes,
  image: imageRoutes,
  network: networkRoutes,
  plan: planRoutes,
  vm: { ...vmRoutes, ...vmTelemetry, ...rightSizingRoutes, adopt: adoptVm },
  task: taskRoutes,
  project: projectRoutes,
  user: userRoutes,
  role: roleRoutes,
  token: tokenRoutes,
  session: sessionRoutes,
  audit: auditRoutes,
  system: systemRoutes,
  server: serverRoutes,
} as const;

export const allRoutes: readonly Route[] = Object.values(routes).flatMap((group) => Object.values(group) as Route[]); // each member is a Route of its own types

export const apiPrefix = "/api/v1";
/** Stands with `true` on every answer of a server whose hosts and machines are simulated. */
export const simulatedHeader = "sheaf-simulated";

/**
 * Routes whose bodies are no JSON, outside the table's schemas: mounted by the server one by one, listed here so that
 * privilege and path stand in one place.
 */
export const rawRoutes = {
  watch: {
    method: "GET",
    path: "/watch",
    privilege: "signed-in",
    summary: "Server-sent events of every change since `?revision=` (or Last-Event-ID); `?kind=`, `?project=`, `?id=` narrow it",
  },
  imageContent: {
    method: "PUT",
    path: "/images/:id/content",
    privilege: "image.change",
    summary: "Upload an image's bytes; Content-Range resumes; HEAD tells how many are there",
  },
  serialConsole: {
    method: "GET",
    path: "/vms/:id/console/serial",
    privilege: "vm.console",
    summary: "WebSocket: the serial console, bytes both ways",
  },
  vncConsole: { method: "GET", path: "/vms/:id/console/vnc", privilege: "vm.console", summary: "WebSocket: RFB (VNC), bytes both ways" },
  screenshot: { method: "GET", path: "/vms/:id/screenshot", privilege: "vm.console", summary: "The screen as an image" },
  auditExport: { method: "GET", path: "/audit/export", privilege: "audit.view", summary: "The audit trail as newline-delimited JSON" },
} as const;
