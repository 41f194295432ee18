/** Holds the code to tools/layers.json (who may import whom) and to the ports (who may touch the real clock, disk and network). */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");
const layers = JSON.parse(readFileSync(join(root, "tools/layers.json"), "utf8")) as Record<"packages" | "apps", Record<string, string[]>>; // the table beside this file

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === "node_modules" || entry.name === "dist") return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? sources(path) : /\.tsx?$/.test(entry.name) ? [path] : [];
  });
}

/** Tests, and what only tests call. */
const isTest = (path: string): boolean =>
  /\.(test|fixture|test-support|bench)\.|\/testing\/|\/(conformance|simulated-clock|manual-timers|fake-server)\.ts$/.test(path);
const importsOf = (text: string): string[] => [...text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map((match) => match[1] ?? "");

/** @returns one sentence for each import that the table does not allow */
function forbiddenImports(area: "packages" | "apps", name: string, allowed: readonly string[]): string[] {
  const folder = join(root, area, name);
  return sources(folder).flatMap((path) => {
    const where = relative(root, path);
    return importsOf(readFileSync(path, "utf8")).flatMap((target) => {
      const peer = /^@sheaf\/([a-z-]+)(\/.*)?$/.exec(target);
      if (peer) {
        if (peer[2] !== undefined) return [`${where} reaches into ${target}: import the package's index.`];
        // Tests of real components may use the lab and the ports' real sides, whatever their layer.
        if (peer[1] === name || allowed.includes(peer[1] ?? "") || (isTest(path) && ["lab", "adapters"].includes(peer[1] ?? ""))) return [];
        return [`${where} imports ${target}. ${area}/${name} may import ${allowed.join(", ") || "nothing"} (tools/layers.json).`];
      }
      const outside = target.startsWith(".") && relative(folder, join(path, "..", target)).startsWith("..");
      const known = area === "apps" && allowed.some((each) => join(path, "..", target).startsWith(join(root, "apps", each)));
      return outside && !isTest(path) && !known ? [`${where} imports ${target}, outside its own folder.`] : [];
    });
  });
}

for (const area of ["packages", "apps"] as const) {
  for (const [name, allowed] of Object.entries(layers[area])) {
    test(`${area}/${name} imports only what its layer may`, () => assert.deepEqual(forbiddenImports(area, name, allowed), []));
  }
  test(`every folder of ${area} stands in the table`, () => {
    assert.deepEqual(readdirSync(join(root, area)).toSorted(), Object.keys(layers[area]).toSorted());
  });
}

test("the table has no circles", () => {
  const visit = (name: string, path: readonly string[]): void => {
    assert.ok(!path.includes(name), `${[...path, name].join(" → ")}`);
    for (const next of layers.packages[name] ?? []) visit(next, [...path, name]);
  };
  for (const name of Object.keys(layers.packages)) visit(name, []);
});

/** Files that are the real sides of ports. */
const realSides = [
  /^packages\/adapters\//,
  /^packages\/lab\//,
  /^packages\/libvirt\/src\/(transport|node-|timers)/,
  /^packages\/store\/src\/sqlite/,
  /^apps\//,
];
const ports: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  { what: "the real clock", pattern: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/ },
  { what: "real timers", pattern: /(?<![.\w])(setTimeout|setInterval|setImmediate)\(|AbortSignal\.timeout\(/ },
  { what: "real randomness", pattern: /\bMath\.random\(|\brandomUUID\(|\brandomBytes\(|\bgetRandomValues\(/ },
  { what: "the disk, processes or sockets", pattern: /from "node:(fs|fs\/promises|child_process|net|dgram|tls|http|https|worker_threads)"/ },
];

test("time, chance, disk, processes and network are reached through ports", () => {
  const found = sources(join(root, "packages")).flatMap((path) => {
    const where = relative(root, path);
    if (isTest(path) || realSides.some((side) => side.test(where))) return [];
    // Types alone touch nothing.
    const code = readFileSync(path, "utf8")
      .replace(/^import type .*$/gm, "")
      .replace(/^\s*(\/\/|\*|\/\*).*$/gm, "");
    return ports.filter(({ pattern }) => pattern.test(code)).map(({ what }) => `${where} reaches for ${what}: take it as a port.`);
  });
  assert.deepEqual(found, []);
});

test("no package keeps mutable state at module level", () => {
  const found = sources(join(root, "packages")).filter((path) => !isTest(path) && /^(export )?let /m.test(readFileSync(path, "utf8")));
  assert.deepEqual(
    found.map((path) => relative(root, path)),
    [],
  );
});

test("no file is longer than 800 lines", () => {
  const found = [...sources(join(root, "packages")), ...sources(join(root, "apps"))].filter(
    (path) => readFileSync(path, "utf8").split("\n").length > 801,
  );
  assert.deepEqual(
    found.map((path) => relative(root, path)),
    [],
  );
});
