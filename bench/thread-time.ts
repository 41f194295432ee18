/**
 * CPU time of this thread: other programs do not count, pauses of the collector do. Asking for that of the process first is what brings the
 * thread's account up to now (Linux counts a running thread anew only at ticks).
 */
export function nowMs(): number {
  process.cpuUsage();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
