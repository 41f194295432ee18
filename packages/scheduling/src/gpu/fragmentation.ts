/**
 * The policy `fragmentation` for GPU requests. A host's fragmentation is what would stay idle of its GPUs if from now on requests of the
 * known mix came to this host alone until it is full: the mean over a few fills with samples of the mix. A request goes where that grows
 * least, to the tightest GPU that suffices. So scarce CPU and memory, gaps that no share fills, whole GPUs and accepted models are all
 * weighed in the unit that counts, GPUs that earn nothing. A request without GPUs goes where its CPU and memory are missed least.
 *
 * Weng et al. (Beware of Fragmentation, USENIX ATC 2023) count instead what each class could not use of the host as it stands.
 */
import { CostColumns } from "./cost-columns.ts";
import type { GpuDemand, GpuHosts } from "./gpu-hosts.ts";
import type { GpuChoice, GpuPolicy } from "./gpu-policy.ts";
import { type GpuRequest, wholeGpuMilli } from "./gpu-request.ts";
import { HostState } from "./host-state.ts";
import { RequestMix } from "./request-mix.ts";

/** Half as many decide nearly as well, twice as many hardly better and in twice the time (docs/reference/scheduling-gpu.md). */
const fills = 16;
/** Far more than a host of eight GPUs can take: what is left after them is left because little fits, not because nothing came. */
const requestsPerFill = 64;
/** Values of states that were worked out; the newer one overwrites the older. 1 MB. */
const memoSize = 2 ** 16;
/** Requests learnt before the first sample is drawn, and at most between two samples: a few a day on a busy cluster. */
const firstDrawAfter = 32;
const drawAtLeastAfter = 4096;

export class Fragmentation implements GpuPolicy {
  readonly name = "fragmentation";
  readonly #hosts: GpuHosts;
  readonly #mix: RequestMix;
  readonly #columns: CostColumns;
  readonly #state = new HostState();
  readonly #filled = new HostState();
  readonly #memoHash = new Uint32Array(memoSize);
  readonly #memoCheck = new Uint32Array(memoSize);
  readonly #memoIdle = new Float64Array(memoSize);
  #sample: readonly GpuDemand[] = [];
  readonly #gpuMilli = new Int32Array(fills * requestsPerFill);
  readonly #cpuMilli = new Float64Array(fills * requestsPerFill);
  readonly #memoryBytes = new Float64Array(fills * requestsPerFill);
  /** Of this request and those after it in the fill. */
  readonly #leastGpuMilli = new Int32Array(fills * requestsPerFill);
  readonly #leastCpuMilli = new Float64Array(fills * requestsPerFill);
  #learnt = 0;
  #drawAfter = 0;

  /** @param mix what is known of requests so far, or given; `learn` adds to it */
  constructor(hosts: GpuHosts, mix: RequestMix = new RequestMix()) {
    this.#hosts = hosts;
    this.#mix = mix;
    this.#columns = new CostColumns(hosts, (demand, slot) => this.#growth(demand, slot));
    this.#draw();
  }

  /** A request has arrived, whether or not it was placed: later decisions expect more of its kind. */
  learn(request: GpuRequest): void {
    this.#mix.learn(request);
    this.#learnt += 1;
    if (this.#learnt >= this.#drawAfter) this.#draw();
  }

  /** Every cost is worked out anew afterwards, some microseconds for each different state of a host; so not after each request. */
  #draw(): void {
    this.#learnt = 0;
    // While little is known, when twice as much is known.
    this.#drawAfter = Math.min(Math.max(firstDrawAfter, this.#mix.total), drawAtLeastAfter);
    this.#sample = this.#mix.draw(fills * requestsPerFill).map((request) => this.#hosts.demand(request));
    this.#sample.forEach((demand, at) => {
      this.#gpuMilli[at] = demand.gpuMilli;
      this.#cpuMilli[at] = demand.cpuMilli;
      this.#memoryBytes[at] = demand.memoryBytes;
    });
    for (let at = this.#sample.length - 1; at >= 0; at -= 1) {
      const last = (at + 1) % requestsPerFill === 0;
      this.#leastGpuMilli[at] = Math.min(this.#gpuMilli[at] ?? 0, last ? wholeGpuMilli : (this.#leastGpuMilli[at + 1] ?? 0));
      this.#leastCpuMilli[at] = Math.min(this.#cpuMilli[at] ?? 0, last ? Number.POSITIVE_INFINITY : (this.#leastCpuMilli[at + 1] ?? 0));
    }
    this.#memoHash.fill(0);
    this.#memoCheck.fill(0);
    this.#columns.clear();
  }

  choice(request: GpuRequest): GpuChoice {
    const { demand, cost } = this.#columns.of(request);
    return { demand, cost, gpus: (slot) => this.#hosts.tightest(demand, slot) };
  }

  /** Milli of the host's GPUs that would stay idle when it is full. */
  idleWhenFull(slot: number): number {
    this.#state.read(this.#hosts, slot);
    return this.#idle();
  }

  /** How much of what is idle now is lost by placing, beyond what the request itself uses: milli of a GPU. */
  #growth(demand: GpuDemand, slot: number): number {
    const before = this.idleWhenFull(slot);
    this.#state.read(this.#hosts, slot, demand);
    return this.#idle() - before;
  }

  #idle(): number {
    const { hash, check } = this.#state;
    const at = hash & (memoSize - 1);
    if (this.#memoHash[at] === hash && this.#memoCheck[at] === check && check !== 0) return this.#memoIdle[at] ?? 0;
    const idle = this.#work();
    this.#memoHash[at] = hash;
    this.#memoCheck[at] = check;
    this.#memoIdle[at] = idle;
    return idle;
  }

  #work(): number {
    if (this.#sample.length === 0) return this.#state.totalIdleMilli;
    let total = 0;
    for (let fill = 0; fill < fills; fill += 1) total += this.#fill(fill * requestsPerFill);
    return total / fills;
  }

  #fill(from: number): number {
    const host = this.#filled;
    host.copy(this.#state);
    for (let at = from; at < from + requestsPerFill; at += 1) {
      const gpuMilli = this.#gpuMilli[at] ?? 0;
      const cpuMilli = this.#cpuMilli[at] ?? 0;
      const memoryBytes = this.#memoryBytes[at] ?? 0;
      // The last one has most idle.
      const most = host.count === 0 ? 0 : (host.idleMilli[host.count - 1] ?? 0);
      if (most < (this.#leastGpuMilli[at] ?? 0) || host.cpuMilli < (this.#leastCpuMilli[at] ?? 0)) break;
      if (gpuMilli > most || cpuMilli > host.cpuMilli || memoryBytes > host.memoryBytes) continue;
      const demand = this.#sample[at];
      if (demand === undefined || !host.take(demand.gpus, gpuMilli, demand.accepts)) continue;
      host.cpuMilli -= cpuMilli;
      host.memoryBytes -= memoryBytes;
    }
    return host.totalIdleMilli;
  }
}
