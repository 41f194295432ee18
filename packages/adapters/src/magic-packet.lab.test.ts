/** A magic packet crosses a real link: broadcast in one network namespace, heard in another that is on the same segment. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";

const [one, other] = ["sheaf-wol-a", "sheaf-wol-b"];
const ip = (...words: string[]): string => execFileSync("ip", words, { encoding: "utf8" });
const inside = (namespace: string, ...words: string[]): readonly [string, readonly string[]] => [
  "nsenter",
  [`--net=/run/netns/${namespace}`, ...words],
];
const remove = (): void => {
  for (const namespace of [one, other]) if (ip("netns", "list").includes(namespace)) ip("netns", "delete", namespace);
};

before(() => {
  remove();
  for (const namespace of [one, other]) ip("netns", "add", namespace);
  ip("link", "add", "wol-a", "netns", one, "type", "veth", "peer", "name", "wol-b", "netns", other);
  for (const [namespace, link, address] of [
    [one, "wol-a", "10.99.214.1/24"],
    [other, "wol-b", "10.99.214.2/24"],
  ] as const) {
    ip("-n", namespace, "address", "add", address, "dev", link);
    ip("-n", namespace, "link", "set", link, "up");
  }
});
after(remove);

const listen = `
const socket = require("node:dgram").createSocket("udp4");
socket.on("message", (message, from) => { console.log(message.toString("hex"), from.address); process.exit(0); });
socket.bind(9, "0.0.0.0", () => console.log("listening"));
`;
const send = `
import { sendMagicPacket } from ${JSON.stringify(new URL("magic-packet.ts", import.meta.url).href)};
console.log((await sendMagicPacket({ mac: "52:54:00:ab:cd:ef", port: 9 })).join());
`;

test("the neighbour on the same segment hears it", { timeout: 30_000 }, async () => {
  const listener = spawn(...inside(other, process.execPath, "-e", listen));
  try {
    let heard = "";
    listener.stdout.setEncoding("utf8").on("data", (text: string) => (heard += text));
    while (!heard.includes("listening")) await once(listener.stdout, "data");
    const ended = once(listener, "exit");
    const [program, words] = inside(one, process.execPath, "--disable-warning=ExperimentalWarning", "--input-type=module", "-e", send);
    assert.equal(execFileSync(program, words, { encoding: "utf8" }).trim(), "10.99.214.255");
    await ended;
    assert.equal(heard.trim().split("\n").at(-1), `${"ff".repeat(6)}${"525400abcdef".repeat(16)} 10.99.214.1`);
  } finally {
    listener.kill();
  }
});
