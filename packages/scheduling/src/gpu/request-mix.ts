/**
 * The mix of requests: classes of alike ones, each with its weight, learnt from what has arrived or given. Bounded: when much has been
 * seen, all weights are halved, so that the mix follows the times and rare classes are forgotten. `draw` makes a sample of it, the same
 * one for the same mix.
 */
import { type GpuRequest, gpuRequestKey } from "./gpu-request.ts";

export interface RequestClass {
  readonly key: string;
  readonly request: GpuRequest;
  readonly weight: number;
}

/** As many requests as a large cluster gets in a day or two: older ones count half, and half again. */
const remembered = 16_384;

export class RequestMix {
  readonly #classes = new Map<string, { readonly request: GpuRequest; weight: number }>();
  #total = 0;

  /** Weight of all that was learnt. */
  get total(): number {
    return this.#total;
  }

  learn(request: GpuRequest, weight = 1): void {
    const key = gpuRequestKey(request);
    const known = this.#classes.get(key);
    if (known === undefined) this.#classes.set(key, { request, weight });
    else known.weight += weight;
    this.#total += weight;
    if (this.#total > 2 * remembered) this.#fade();
  }

  /** Heaviest first; equal ones by key, so that the order of arrival does not matter. */
  classes(): RequestClass[] {
    const all = [...this.#classes].map(([key, { request, weight }]) => ({ key, request, weight }));
    return all.sort((a, b) => b.weight - a.weight || (a.key < b.key ? -1 : 1));
  }

  /**
   * `count` requests for GPUs in a random order, each class as often as its weight says, to within one (systematic sampling); none
   * where no request for GPUs was learnt.
   */
  draw(count: number): GpuRequest[] {
    const classes = this.classes().filter(({ request }) => request.gpus > 0);
    const total = classes.reduce((sum, { weight }) => sum + weight, 0);
    const drawn: GpuRequest[] = [];
    let reached = 0;
    for (const { request, weight } of classes) {
      reached += weight;
      while (drawn.length < count && (drawn.length + 0.5) * total < reached * count) drawn.push(request);
    }
    return shuffled(drawn);
  }

  #fade(): void {
    this.#total = 0;
    for (const [key, known] of this.#classes) {
      known.weight /= 2;
      if (known.weight < 1) this.#classes.delete(key);
      else this.#total += known.weight;
    }
  }
}

/** Fisher and Yates's shuffle with a fixed seed: decisions have to be the same when they are made again. */
function shuffled<T>(items: readonly T[]): T[] {
  const order = [...items];
  let state = 0x9e3779b9;
  for (let last = order.length - 1; last > 0; last -= 1) {
    // xorshift32 (Marsaglia 2003)
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const other = (state >>> 0) % (last + 1);
    // Both stand within the array.
    [order[last], order[other]] = [order[other] as T, order[last] as T];
  }
  return order;
}
