/** A Redfish management controller for one lab host: the few resources of DSP0266 that power control needs, with basic authentication. Loopback only. */
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { must } from "../command.ts";
import { bmcPassword, bmcUser } from "./ipmi-bmc.ts";
import type { PowerControl } from "./power-control.ts";

const system = "/redfish/v1/Systems/1";
const reset = `${system}/Actions/ComputerSystem.Reset`;

export class RedfishBmc {
  readonly port: number;
  /** SHA-256 of its certificate, hexadecimal. */
  readonly fingerprint: string;
  readonly #server: Server;

  private constructor(server: Server, port: number, fingerprint: string) {
    this.#server = server;
    this.port = port;
    this.fingerprint = fingerprint;
  }

  static async start(control: PowerControl): Promise<RedfishBmc> {
    const folder = await mkdtemp(join(tmpdir(), "redfish-"));
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    try {
      const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=bmc"];
      await must(["openssl", "req", "-x509", ...kind, "-keyout", key, "-out", certificate]);
      const pem = await readFile(certificate, "utf8");
      const server = createServer({ key: await readFile(key), cert: pem }, (request, response) => void serve(request, response, control));
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as { port: number }; // it listens on TCP
      return new RedfishBmc(server, port, createHash("sha256").update(new X509Certificate(pem).raw).digest("hex"));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

async function serve(request: IncomingMessage, response: ServerResponse, control: PowerControl): Promise<void> {
  const say = (status: number, body?: unknown): void => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(body === undefined ? "" : JSON.stringify(body));
  };
  const allowed = request.headers.authorization === `Basic ${Buffer.from(`${bmcUser}:${bmcPassword}`).toString("base64")}`;
  if (request.url === "/redfish/v1") return say(200, { Systems: { "@odata.id": "/redfish/v1/Systems" } });
  if (!allowed) return say(401, { error: { message: "who are you?" } });
  if (request.method === "GET" && request.url === system) {
    const state = (await control.status()) === "on" ? "On" : "Off";
    return say(200, { PowerState: state, Actions: { "#ComputerSystem.Reset": { target: reset } } });
  }
  if (request.method !== "POST" || request.url !== reset) return say(404);
  let text = "";
  for await (const chunk of request) text += String(chunk);
  const { ResetType: kind } = JSON.parse(text) as { ResetType?: string }; // a lab's own client
  if (kind === "ForceOff") await control.order("off");
  else if (kind === "On") await control.order("on");
  else return say(400, { error: { message: `ResetType ${kind} is not known` } });
  return say(204);
}
