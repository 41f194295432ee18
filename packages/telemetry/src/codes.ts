/**
 * Figures as 16-bit codes: whole numbers up to a few hundred or thousand as they are, larger ones rounded to so many binary digits. Codes
 * rise with the numbers, so that the least and the greatest are found, and differences taken, without turning them back. Called per sample.
 */

/** No figure. */
export const absent = 0xffff;

const largest = 2 ** 31 - 1;

/** @param quanta 0 … 2³¹−1; what is more or less counts as the nearest; `NaN` and fractions of a quantum are rounded away */
export function codeOf(quanta: number, significantBits: number): number {
  const whole = quanta > 0 ? (quanta < largest ? Math.round(quanta) : largest) : 0;
  const exponent = 32 - Math.clz32(whole) - significantBits;
  if (exponent <= 0) return whole;
  return exponent * 2 ** (significantBits - 1) + ((whole + 2 ** (exponent - 1)) >>> exponent);
}

/** @returns quanta */
export function quantaOf(code: number, significantBits: number): number {
  const exponent = (code >>> (significantBits - 1)) - 1;
  if (exponent <= 0) return code;
  return (code - (exponent << (significantBits - 1))) * (1 << exponent);
}
