import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import { magicPacket, sendMagicPacket } from "./magic-packet.ts";

test("six bytes ff, then the card's address sixteen times", () => {
  const packet = Buffer.from(magicPacket("52:54:00:ab:cd:ef")).toString("hex");
  assert.equal(packet, "ff".repeat(6) + "525400abcdef".repeat(16));
});

test("it goes to the address and the port that it is told", { timeout: 10_000 }, async () => {
  const listener = createSocket("udp4");
  try {
    listener.bind(0, "127.0.0.1");
    await once(listener, "listening");
    const heard = once(listener, "message");
    const sent = await sendMagicPacket({ mac: "52:54:00:00:00:01", port: listener.address().port, broadcastAddress: "127.0.0.1" });
    assert.deepEqual(sent, ["127.0.0.1"]);
    const [message] = (await heard) as [Buffer]; // dgram's
    assert.equal(message.length, 102);
  } finally {
    listener.close();
  }
});

test("an address that cannot be sent to is told", async () => {
  await assert.rejects(
    sendMagicPacket({ mac: "52:54:00:00:00:01", port: 9, broadcastAddress: "no.such.address.invalid" }),
    /no.such.address.invalid/,
  );
});
