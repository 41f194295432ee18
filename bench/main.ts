/** `npm run bench`: every benchmark, one after the other, with the facts of the machine. Each also runs alone. */
import { spawnSync } from "node:child_process";
import { cpus, totalmem, release } from "node:os";
import { join } from "node:path";

const { length, 0: first } = cpus();
process.stdout.write(
  `machine: ${length} × ${first?.model ?? "unknown"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}\n`,
);
let failed = 0;
for (const name of ["store", "scheduling", "gateway", "api"]) {
  process.stdout.write(`\n== ${name}\n`);
  const { status } = spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, `${name}.ts`)], {
    stdio: "inherit",
  });
  if (status !== 0) failed += 1;
}
process.exitCode = failed === 0 ? 0 : 1;
