import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ProgramError, runProgram, streamProgram } from "./processes.ts";

const fails = (code: ProgramError["code"]) => (error: unknown) => error instanceof ProgramError && error.code === code;

describe("runProgram", () => {
  it("hands arguments over as they are: no shell looks at them", async () => {
    const result = await runProgram("printf", ["%s", "$(id); `id` && *"], { deadlineMs: 5000 });
    assert.deepEqual(result, { exitCode: 0, signal: null, output: "$(id); `id` && *", errorOutput: "" });
  });

  it("gives input, exit code and error output", async () => {
    const result = await runProgram("sh", ["-c", "cat; echo bad >&2; exit 7"], { deadlineMs: 5000, input: "in" });
    assert.deepEqual(result, { exitCode: 7, signal: null, output: "in", errorOutput: "bad\n" });
  });

  it("kills a program past its deadline, with what it started", async () => {
    const marker = `31.${process.pid}7`;
    await assert.rejects(runProgram("sh", ["-c", `sleep ${marker} & sleep ${marker}`], { deadlineMs: 100 }), fails("timed-out"));
    const left = await runProgram("pgrep", ["-f", `^sleep ${marker}$`], { deadlineMs: 5000 });
    assert.equal(left.output, "");
  });

  it("kills a program that prints too much, or whose work is cancelled", async () => {
    await assert.rejects(runProgram("yes", [], { deadlineMs: 5000, maximumOutputBytes: 10_000 }), fails("too-much-output"));
    const controller = new AbortController();
    const running = runProgram("sleep", ["20"], { deadlineMs: 20_000, signal: controller.signal });
    controller.abort(new Error("enough"));
    await assert.rejects(running, fails("cancelled"));
  });

  it("says which program is missing, with limits too", async () => {
    await assert.rejects(runProgram("sheaf-no-such-program", [], { deadlineMs: 5000 }), fails("not-found"));
    await assert.rejects(runProgram("sheaf-no-such-program", [], { deadlineMs: 5000, limits: { cpuSeconds: 5 } }), fails("not-found"));
  });

  it("limits memory", async () => {
    const result = await runProgram("sh", ["-c", "ulimit -v"], { deadlineMs: 5000, limits: { memoryBytes: 512 * 2 ** 20 } });
    assert.equal(result.output.trim(), String(512 * 1024));
  });
});

describe("streamProgram", () => {
  it("yields the output and fails with the program's last words", async () => {
    let text = "";
    const read = async (script: string): Promise<void> => {
      for await (const chunk of streamProgram("sh", ["-c", script], { deadlineMs: 5000 })) text += Buffer.from(chunk).toString();
    };
    await read("echo one");
    assert.equal(text, "one\n");
    await assert.rejects(read("echo two; echo why it broke >&2; exit 3"), /3: why it broke/);
    assert.equal(text, "one\ntwo\n");
  });

  it("kills the program when the reader goes", async () => {
    for await (const chunk of streamProgram("yes", [], { deadlineMs: 60_000 })) {
      assert.ok(chunk.length > 0);
      break;
    }
  });
});
