/** The serial console on this terminal: bytes both ways over a WebSocket. Ctrl-] leaves. */
import { fillPath } from "@sheaf/client";
import { apiPrefix, rawRoutes } from "@sheaf/contract";
import { SheafError } from "@sheaf/model";
import { scoped, type Cli } from "../cli.ts";

const leave = 0x1d; // Ctrl-]

export async function openConsole(cli: Cli, id: string): Promise<void> {
  const { WebSocket } = await import("ws");
  const connection = await cli.connection();
  const query = new URLSearchParams(scoped(cli)).toString();
  const url = `${connection.url.replace(/^http/, "ws")}${apiPrefix}${fillPath(rawRoutes.serialConsole.path, { id })}${query === "" ? "" : `?${query}`}`;
  const socket = new WebSocket(url, {
    ...(connection.authority === undefined ? {} : { ca: connection.authority }),
    headers: connection.token === undefined ? {} : { authorization: `Bearer ${connection.token}` },
  });
  socket.binaryType = "nodebuffer";
  const { stdin, stdout } = process;
  await new Promise<void>((resolve, reject) => {
    const onInput = (data: Buffer): void => {
      if (data.includes(leave)) socket.close(1000);
      else socket.send(data);
    };
    socket.on("open", () => {
      cli.terminal.note(`connected to ${id}; Ctrl-] leaves`);
      if (stdin.isTTY) stdin.setRawMode(true);
      stdin.on("data", onInput);
    });
    socket.on("message", (data: Buffer) => stdout.write(data));
    socket.on("unexpected-response", (_request, response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        void import("@sheaf/client").then(({ toError }) =>
          reject(toError({ status: response.statusCode ?? 0, headers: {}, text: Buffer.concat(chunks).toString("utf8") })),
        );
      });
    });
    socket.on("error", (error) =>
      reject(new SheafError("unavailable", "The console's connection broke.", { cause: error.message, next: "Open it again." })),
    );
    socket.on("close", (code, reason) =>
      code === 1000 || code === 1005
        ? resolve()
        : reject(new SheafError("unavailable", `The console was closed: ${reason.toString("utf8") || `code ${code}`}.`, { next: "Open it again." })),
    );
    cli.interrupted.addEventListener("abort", () => socket.close(1000), { once: true });
    socket.once("close", () => {
      stdin.off("data", onInput);
      if (stdin.isTTY) stdin.setRawMode(false);
      stdin.pause();
    });
  });
}
