import assert from "node:assert/strict";
import { test } from "node:test";
import { gpuHost, gpuHosts, wanted } from "../testing/gpu-hosts.ts";

test("a share comes from one GPU, whole GPUs from one host, and CPU and memory have to suffice", () => {
  const hosts = gpuHosts(gpuHost("a", 8, [500, 400, 1000], "A", 16));
  const fits = (...of: Parameters<typeof wanted>): boolean => hosts.fits(hosts.demand(wanted(...of)), 0);
  assert.ok(fits(8, 1));
  assert.ok(fits(1, 0.5));
  assert.ok(!fits(1, 2), "only one GPU is whole, however much is idle");
  assert.ok(!fits(9, 0.1));
  assert.ok(!fits(1, 0.1, [], 17));
  assert.ok(fits(8, 0, [], 16), "no GPU is wanted");
});

test("models: any of those accepted, on hosts of several models too, and one that comes later", () => {
  const hosts = gpuHosts({
    ...gpuHost("a", 8, []),
    gpus: [
      { model: "A", idleMilli: 1000 },
      { model: "B", idleMilli: 700 },
      { model: "A", idleMilli: 300 },
    ],
  });
  const ofB = hosts.demand(wanted(1, 0.2, ["B", "C"]));
  assert.deepEqual(hosts.tightest(ofB, 0), [1]);
  assert.deepEqual(hosts.tightest(hosts.demand(wanted(1, 0.2)), 0), [2]);
  assert.ok(!hosts.fits(hosts.demand(wanted(1, 1, ["B"])), 0));
  const ofC = hosts.demand(wanted(1, 1, ["C"]));
  assert.ok(!hosts.fits(ofC, 0));
  hosts.put(gpuHost("b", 8, [1000], "C"));
  assert.ok(hosts.fits(ofC, 1));
});

test("taking and giving back leave no trace but the version; a host with more GPUs than any before moves nobody's figures", () => {
  const hosts = gpuHosts(gpuHost("a", 8, [1000, 1000, 600]), gpuHost("b", 8, [300, 700], "B"));
  const two = hosts.demand(wanted(4, 2));
  assert.deepEqual(hosts.tightest(two, 0), [0, 1]);
  hosts.take(two, 0, [0, 1]);
  assert.ok(!hosts.fits(hosts.demand(wanted(0, 1)), 0));
  assert.ok(hosts.fits(hosts.demand(wanted(4, 0.6)), 0));
  for (let other = 0; other < 40; other += 1)
    hosts.put(
      gpuHost(
        `b${other}`,
        8,
        Array.from({ length: 16 }, () => 1000),
      ),
    );
  const version = hosts.version[0] ?? 0;
  hosts.giveBack(two, 0, [0, 1]);
  assert.equal(hosts.version[0], version + 1);
  assert.deepEqual([...hosts.gpuIdleMilli.subarray(0, 3)], [1000, 1000, 600]);
  assert.equal(hosts.cpuIdleMilli[0], 8000);
  assert.ok(hosts.fits(hosts.demand(wanted(8, 0.7, ["B"])), 1) && !hosts.fits(hosts.demand(wanted(8, 0.8)), 1));
  assert.ok(hosts.fits(hosts.demand(wanted(8, 16)), hosts.find("b39") ?? -1));
  hosts.remove("b39");
  assert.ok(!hosts.fits(hosts.demand(wanted(1, 0.1)), hosts.find("b39") ?? -1));
});
