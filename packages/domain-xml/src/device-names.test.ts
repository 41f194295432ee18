import assert from "node:assert/strict";
import { test } from "node:test";
import { diskSerial, domainName, tapDeviceName, targetName } from "./device-names.ts";
import { ioTune } from "./disk-limits.ts";

test("target names go on after z", () => {
  assert.deepEqual(
    [0, 25, 26, 51, 52, 701, 702].map((index) => targetName("vd", index)),
    ["vda", "vdz", "vdaa", "vdaz", "vdba", "vdzz", "vdaaa"],
  );
});

test("tap devices have names that Linux takes and libvirt leaves alone", () => {
  assert.equal(tapDeviceName("52:54:00:12:34:56"), "tap-25400123456");
  assert.ok(tapDeviceName("52:54:00:12:34:56").length <= 15);
});

test("serial numbers fit into virtio's 20 characters", () => {
  assert.equal(diskSerial("01890a5d-ac96-774b-bcce-b302099a8057"), "774bbcceb302099a8057");
});

test("domains are named by number and name", () => {
  assert.equal(domainName({ id: "x", number: 100, name: "web" }), "sheaf-100-web");
});

test("bursts follow QEMU's rules", () => {
  const of = (limits: Parameters<typeof ioTune>[0]): object => Object.fromEntries(Object.entries(ioTune(limits)).filter(([, value]) => value > 0));
  assert.deepEqual(of({ burstBytesPerSecond: 100 }), {}, "none without a limit");
  assert.deepEqual(of({ totalBytesPerSecond: 100, burstBytesPerSecond: 50 }), { total_bytes_sec: 100 }, "none below the limit");
  assert.deepEqual(of({ readBytesPerSecond: 100, writeBytesPerSecond: 900, burstBytesPerSecond: 500, burstMs: 2500 }), {
    read_bytes_sec: 100,
    read_bytes_sec_max: 500,
    read_bytes_sec_max_length: 3,
    write_bytes_sec: 900,
  });
  assert.deepEqual(
    of({ totalOperationsPerSecond: 1, burstOperationsPerSecond: 10 ** 14, burstMs: 3_600_000 }),
    { total_iops_sec: 1, total_iops_sec_max: 10 ** 14, total_iops_sec_max_length: 10 },
    "no longer than QEMU can count",
  );
});
