/** Where a host's load is going (Cleveland's local regression, as CloudSim 3.0.3 comes to it). Called by the baselines. */

/** The value at `x` of the straight line of least squares through the points (1, y₁), (2, y₂) … */
export function lineAt(x: number, values: readonly number[] | Float64Array): number {
  const count = values.length;
  const meanX = (count + 1) / 2;
  let sumY = 0;
  let products = 0;
  for (let index = 0; index < count; index += 1) {
    const value = values[index] ?? 0;
    sumY += value;
    products += (index + 1 - meanX) * value;
  }
  // Σ (i − mean)² of 1 … n
  const slope = products / ((count * (count * count - 1)) / 12);
  return sumY / count + slope * (x - meanX);
}
