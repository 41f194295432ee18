/**
 * Makes what goes to npm from packages/libvirt: JavaScript and type declarations with a package.json of their own, in
 * packages/libvirt/dist (or the directory given as argument). Publish with `npm publish packages/libvirt/dist`.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const source = join(root, "packages/libvirt");
const target = resolve(process.argv[2] ?? join(source, "dist"));

rmSync(target, { recursive: true, force: true });
const compiler = join(root, "node_modules/typescript/bin/tsc");
execFileSync(process.execPath, [compiler, "-p", join(source, "tsconfig.build.json"), "--outDir", target], { stdio: "inherit" });

// package.json is ours and an object.
const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8")) as Record<string, unknown>;
for (const name of ["private", "scripts", "devDependencies"]) delete manifest[name];
manifest["exports"] = { ".": { types: "./index.d.ts", default: "./index.js" } };
writeFileSync(join(target, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
copyFileSync(join(source, "README.md"), join(target, "README.md"));
copyFileSync(join(root, "LICENSE"), join(target, "LICENSE"));
