import assert from "node:assert/strict";
import { test } from "node:test";
import { figuresInOrder } from "@sheaf/model";
import { exposition } from "./exposition.ts";

test("names have base units, what was not measured is not there, labels are escaped, each name is explained once", () => {
  const vm = (name: string, figures: Record<string, number>) => ({
    kind: "vm" as const,
    labels: { vm: name },
    figures: figuresInOrder("vm", figures),
  });
  const text = exposition([
    vm('a"\\b', { cpu: 1.5, diskLatencyMicroseconds: 250 }),
    vm("c", { cpu: 0.25, memoryUsedBytes: 2 ** 30 }),
    { kind: "host", labels: {}, figures: figuresInOrder("host", { cpu: 0.5, temperatureCelsius: 41.5, netReceiveBytesPerSecond: 2048 }) },
  ]);
  assert.deepEqual(
    text.split("\n").filter((line) => !line.startsWith("# HELP")),
    [
      "# TYPE sheaf_host_cpu_ratio gauge",
      "sheaf_host_cpu_ratio 0.5",
      "# TYPE sheaf_host_net_receive_bytes_per_second gauge",
      "sheaf_host_net_receive_bytes_per_second 2048",
      "# TYPE sheaf_host_temperature_celsius gauge",
      "sheaf_host_temperature_celsius 41.5",
      "# TYPE sheaf_vm_cpu_cpus gauge",
      'sheaf_vm_cpu_cpus{vm="a\\"\\\\b"} 1.5',
      'sheaf_vm_cpu_cpus{vm="c"} 0.25',
      "# TYPE sheaf_vm_memory_used_bytes gauge",
      'sheaf_vm_memory_used_bytes{vm="c"} 1073741824',
      "# TYPE sheaf_vm_disk_latency_seconds gauge",
      'sheaf_vm_disk_latency_seconds{vm="a\\"\\\\b"} 0.00025',
      "",
    ],
  );
  assert.equal(exposition([]), "");
});
