/**
 * `npm start`: server, agent and this machine as the first host; with `--lab N` lab hosts instead, with `--demo N` simulated ones. Prints
 * address and first-time credentials, signs the local command line in, and stops everything cleanly on Ctrl-C. Wiring only.
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DemoDeployment, demoFolder } from "./deployment/demo-deployment.ts";
import { LabDeployment, labIdentity } from "./deployment/lab-deployment.ts";
import { LocalDeployment } from "./deployment/local-deployment.ts";
import { importMiniImage } from "./deployment/mini-image.ts";
import { signInCommandLine } from "./deployment/sign-in.ts";

const { values } = parseArgs({
  options: {
    lab: { type: "string" },
    demo: { type: "string" },
    /** How many times as fast as usual failures and people's deeds come in a simulated data centre; hosts and machines keep their pace. */
    pace: { type: "string", default: "1" },
    data: { type: "string" },
    store: { type: "string" },
    "server-name": { type: "string" },
    port: { type: "string", default: "7443" },
    "agent-port": { type: "string", default: "7444" },
  },
});
const whole = (text: string | undefined, name: string, least: number, most: number): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) {
    process.stderr.write(`--${name} must be a whole number from ${least} to ${most}.\n`);
    process.exit(2);
  }
  return value;
};
if (values.lab !== undefined && values.demo !== undefined) {
  process.stderr.write("--lab and --demo are two things: choose one.\n");
  process.exit(2);
}
const simulated = values.demo !== undefined;
const dataDirectory = resolve(values.data ?? (simulated ? demoFolder : ".sheaf"));
const ports = { port: whole(values.port, "port", 1, 65_535), agentPort: whole(values["agent-port"], "agent-port", 1, 65_535) };
const serverArguments = (["store", "server-name"] as const).flatMap((name) => (values[name] === undefined ? [] : [`--${name}`, values[name]]));
const started = performance.now();
const progress = (text: string): void => void process.stderr.write(`[${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s] ${text}\n`);

const deployment = describe();
function describe(): LocalDeployment | LabDeployment | DemoDeployment {
  const common = { dataDirectory, ...ports, progress };
  if (values.demo !== undefined)
    return new DemoDeployment({ ...common, hosts: whole(values.demo, "demo", 1, 5000), pace: whole(values.pace, "pace", 1, 100) });
  if (values.lab === undefined) return new LocalDeployment({ ...common, serverArguments });
  return LabDeployment.describe({ ...common, hosts: whole(values.lab, "lab", 1, 100), ...labIdentity(dataDirectory), serverArguments });
}

let stopping = false;
const stop = async (code: number): Promise<void> => {
  if (stopping) return;
  stopping = true;
  progress("stopping");
  await deployment.stop();
  process.exit(code);
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => void stop(0));

try {
  await deployment.start();
  if (!simulated) {
    progress("importing the image mini");
    await importMiniImage(deployment.client, join(dataDirectory, "mini"));
  }
  await signInCommandLine(deployment.server, deployment.client);
  process.stdout.write(`
${simulated ? `A SIMULATED data centre of ${values.demo} hosts: no host and no machine in it is real. It fails now and then; it begins anew at each start.\n` : ""}Sheaf runs at ${deployment.server.url}
  user      admin
  password  in ${dataDirectory}/admin-password
  authority sha256 ${deployment.server.caFingerprint}

The command line is signed in. Try:
  ./sheaf host list
  ./sheaf vm create hello --image mini --memory 128MiB --wait

Ctrl-C stops Sheaf.
`);
  deployment.server.child.once("exit", (code, signal) => {
    if (stopping) return;
    process.stderr.write(`The server ended by itself (${signal ?? code}); its log is ${deployment.server.logFile}.\n`);
    void stop(1);
  });
} catch (error) {
  process.stderr.write(`\nSheaf did not start: ${error instanceof Error ? error.message : String(error)}\n`);
  await stop(1);
}
