/** A page that shows the API to people: made from the same table, one file, no script, nothing from elsewhere. Pure. */
import { allRoutes, apiPrefix, rawRoutes } from "@sheaf/contract";
import { problems } from "@sheaf/model";
import { z } from "zod";

const style = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2024;background:#fff}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f5f7;padding:.75rem;overflow:auto;max-height:28rem;border-radius:4px}
h2{margin-top:2.5rem;border-bottom:1px solid #ddd}details{margin:.25rem 0;border:1px solid #e3e5e8;border-radius:4px;padding:.4rem .75rem}
summary{cursor:pointer}.m{display:inline-block;min-width:4rem;font-weight:600}.p{color:#5b6470;float:right}nav a{margin-right:.75rem}
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .75rem .2rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#15181b;color:#e6e8ea}pre{background:#1f2327}details,h2{border-color:#33383d}.p{color:#98a2ad}a{color:#8ab4f8}}`;

export function apiPage(): string {
  const groups = Map.groupBy(allRoutes, (route) => route.name.split(".")[0] ?? "");
  const names = [...groups.keys()].sort();
  const sections = names.map((name) => `<h2 id="${name}">${name}</h2>${(groups.get(name) ?? []).map(section).join("")}`);
  const raw = Object.values(rawRoutes).map(
    ({ method, path, summary, privilege }) => `<details><summary>${head(method, path, privilege)} – ${escape(summary)}</summary></details>`,
  );
  const rows = Object.entries(problems).map(
    ([code, { status, retry, meaning }]) => `<tr><td><code>${code}</code></td><td>${status}</td><td>${retry}</td><td>${escape(meaning)}</td></tr>`,
  );
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sheaf API</title><style>${style}</style></head><body>
<h1>Sheaf API</h1><p>Everything lies below <code>${apiPrefix}</code>; the machine-readable form is <a href="${apiPrefix}/openapi.json">openapi.json</a>. Sign in with <code>POST ${apiPrefix}/sessions</code> and send the token as <code>Authorization: Bearer …</code>.
Creations take an <code>Idempotency-Key</code>, changes an <code>If-Match</code>, every write <code>?dryRun=true</code> where the table has it.</p>
<nav>${names.map((name) => `<a href="#${name}">${name}</a>`).join(" ")} <a href="#streams">streams</a> <a href="#problems">problems</a></nav>
${sections.join("\n")}<h2 id="streams">streams</h2>${raw.join("")}<h2 id="problems">problems</h2><table><tr><th>code</th><th>status</th><th>retry</th><th>meaning</th></tr>${rows.join("")}</table></body></html>
`;
}

function section(route: (typeof allRoutes)[number]): string {
  const parts = [
    part("Query", route.query),
    route.method === "GET" || route.method === "DELETE" ? "" : part("Body", route.body),
    route.errors.length === 0 ? "" : `<p>Problems: ${route.errors.map((code) => `<code>${code}</code>`).join(", ")}</p>`,
  ];
  return `<details><summary>${head(route.method, route.path, route.privilege)} – ${escape(route.summary)}</summary>${parts.join("")}</details>`;
}

const head = (method: string, path: string, privilege: string): string =>
  `<span class="m">${method}</span><code>${escape(path)}</code><span class="p">${privilege}</span>`;

function part(title: string, schema: z.ZodType): string {
  const { properties } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  if (properties === undefined || Object.keys(properties).length === 0) return "";
  return `<p>${title}</p><pre>${escape(JSON.stringify(properties, null, 1))}</pre>`;
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
