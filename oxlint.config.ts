/**
 * What the linter holds the code to. The layers come from tools/layers.json; tools/layers.test.ts holds the code to the same table and
 * to what a linter cannot say. Read by oxlint under our own Node (`npm run lint`, `npm test`).
 */
import { defineConfig } from "oxlint";
import type { OxlintOverride } from "oxlint";
import layers from "./tools/layers.json" with { type: "json" };

/** Tests, and what only tests call. */
const TESTS = [
  "*.test.ts",
  "*.fixture.ts",
  "*.test-support.ts",
  "*.bench.ts",
  "testing/**",
  "conformance.ts",
  "simulated-clock.ts",
  "manual-timers.ts",
  "fake-server.ts",
];
/** The ports' real sides under Node. */
const REAL_SIDES = [
  "packages/adapters/**",
  "packages/lab/**",
  "packages/libvirt/src/transport*",
  "packages/libvirt/src/node-*",
  "packages/libvirt/src/timers*",
  "packages/store/src/sqlite*",
];
const PORT_MODULES = ["fs", "fs/promises", "child_process", "net", "dgram", "tls", "http", "https", "worker_threads", "timers", "timers/promises"];
const PORT_GLOBALS = ["setTimeout", "setInterval", "setImmediate", "fetch", "WebSocket"];
const PORT_PROPERTIES: readonly (readonly [object: string, property: string])[] = [
  ["Date", "now"],
  ["performance", "now"],
  ["Math", "random"],
  ["AbortSignal", "timeout"],
  ["crypto", "randomUUID"],
  ["crypto", "getRandomValues"],
];

const everyPackage = Object.keys(layers.packages);
const tests = (folder: string): string[] => TESTS.map((name) => `${folder}/**/${name}`);

/** Imports of packages that the table does not allow, for sources or for tests: those may use the lab and the ports' real sides, whatever their layer. */
function layer(name: string, allowed: readonly string[], forTests: boolean) {
  const may = [...allowed, name, ...(forTests ? ["lab", "adapters"] : [])];
  const forbidden = everyPackage.filter((each) => !may.includes(each)).map((each) => `@sheaf/${each}`);
  return [
    { group: ["@sheaf/*/**"], message: "Import the package's index." },
    ...(forbidden.length === 0
      ? []
      : [{ group: forbidden, message: `${name} may import ${allowed.join(", ") || "no other package"} (tools/layers.json).` }]),
  ];
}

const ports = {
  globals: PORT_GLOBALS.map((name) => ({ name, message: "Take it as a port: simulation and tests hand in their own." })),
  properties: PORT_PROPERTIES.map(([object, property]) => ({ object, property, message: "Take Clock or Random of @sheaf/base as a port." })),
  modules: PORT_MODULES.map((name) => ({
    name: `node:${name}`,
    message: "Take it as a port; its real side lies in packages/adapters.",
    allowTypeImports: true,
  })),
};

const portsAllowed = { "no-restricted-globals": "off", "no-restricted-properties": "off" } as const;

export default defineConfig({
  categories: { correctness: "error", suspicious: "error" },
  plugins: ["typescript", "unicorn", "oxc", "import", "promise", "node"],
  ignorePatterns: ["**/dist/**"],
  rules: {
    "typescript/no-explicit-any": "error",
    "import/no-default-export": "error",
    "import/no-named-as-default-member": "off",
    "unicorn/no-thenable": "off",
    "unicorn/consistent-function-scoping": "off",
    "no-shadow": "off",
    "no-underscore-dangle": "off",
    "unicorn/require-module-specifiers": "off",
    "unicorn/no-array-fill-with-reference-type": "off",
    "unicorn/require-post-message-target-origin": "off",
    "no-control-regex": "off",
    "unicorn/no-new-array": "off",
    "promise/no-promise-in-callback": "off",
    "unicorn/no-array-sort": "off",
    "promise/always-return": "off",
    "unicorn/no-useless-spread": "off",
    // @peculiar/x509 needs reflect-metadata loaded before it.
    "import/no-unassigned-import": ["error", { allow: ["reflect-metadata"] }],
  },
  overrides: [
    { files: ["oxlint.config.ts"], rules: { "import/no-default-export": "off" } },
    ...Object.entries(layers.packages).flatMap(([name, allowed]): OxlintOverride[] => {
      const folder = `packages/${name}/src`;
      const real = REAL_SIDES.filter((side) => side.startsWith(`packages/${name}/`));
      const limits = { patterns: layer(name, allowed, false) };
      const realOverride: OxlintOverride[] =
        real.length === 0 ? [] : [{ files: real, rules: { "no-restricted-imports": ["error", limits], ...portsAllowed } }];
      return [
        {
          files: [`${folder}/**`],
          rules: {
            "no-restricted-imports": ["error", { ...limits, paths: ports.modules }],
            "no-restricted-globals": ["error", ...ports.globals],
            "no-restricted-properties": ["error", ...ports.properties],
          },
        },
        ...realOverride,
        {
          files: tests(folder),
          rules: {
            "no-restricted-imports": ["error", { patterns: layer(name, allowed, true) }],
            ...portsAllowed,
          },
        },
      ];
    }),
    ...Object.entries(layers.apps).flatMap(([name, allowed]): OxlintOverride[] => [
      { files: [`apps/${name}/**`], rules: { "no-restricted-imports": ["error", { patterns: layer(name, allowed, false) }] } },
      { files: tests(`apps/${name}`), rules: { "no-restricted-imports": ["error", { patterns: layer(name, allowed, true) }] } },
    ]),
  ],
});
