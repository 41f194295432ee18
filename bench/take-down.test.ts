import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";

const benchmark = `
  import { setTimeout as pause } from "node:timers/promises";
  import { takeDown } from ${JSON.stringify(new URL("take-down.ts", import.meta.url).href)};
  const workMs = Number(process.argv[1]);
  const end = takeDown(async () => {
    // What still used the server fails at once.
    if (workMs > 1000) void Promise.reject(new Error("the server is gone"));
    console.log("begun");
    await pause(200);
    console.log("taken down");
  });
  try {
    console.log("at work");
    await pause(workMs);
  } finally {
    await end();
    await end();
  }
`;

async function run(workMs: number, signals: readonly NodeJS.Signals[]) {
  const words = ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", benchmark, String(workMs)];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "ignore"] });
  const left = [...signals];
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    const signal = left.shift();
    if (signal) child.kill(signal);
  });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null]; // as the event is documented
  return { out: out.trim().split("\n"), code, signal };
}

test("an interrupted benchmark takes down what it started, once, and ends by its signal", { timeout: 30_000 }, async () => {
  const told = ["at work", "begun", "taken down"];
  assert.deepEqual(await run(20_000, ["SIGTERM"]), { out: told, code: null, signal: "SIGTERM" });
  assert.deepEqual(await run(20_000, ["SIGINT", "SIGINT", "SIGTERM"]), { out: told, code: null, signal: "SIGINT" });
});

test("one that is not interrupted does so in its end", { timeout: 30_000 }, async () => {
  const { out, signal } = await run(1, []);
  assert.deepEqual([out, signal], [["at work", "begun", "taken down"], null]);
});
