import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SystemClock } from "./system-clock.ts";

describe("SystemClock", () => {
  const clock = new SystemClock();
  it("fires once, not after cancelling, and not at once for times that Node's timers cannot hold", async () => {
    const fired: string[] = [];
    const cancelled = clock.setTimer(1, () => fired.push("cancelled"));
    cancelled.cancel();
    const long = clock.setTimer(2 ** 40, () => fired.push("long"));
    await new Promise<void>((resolve) => clock.setTimer(20, resolve));
    assert.deepEqual(fired, []);
    long.cancel();
  });
  it("tells two times: one of the wall, one that never jumps", () => {
    assert.ok(Math.abs(clock.now() - Date.now()) < 1000);
    assert.ok(clock.monotonic() <= clock.monotonic());
  });
});
