/** Keys are ordered by code point, which is the order of their UTF-8 bytes: the order of SQLite and etcd, not JavaScript's. */
export function compareKeys(left: string, right: string): number {
  if (left === right) return 0;
  const length = Math.min(left.length, right.length);
  let index = 0;
  while (index < length && left.charCodeAt(index) === right.charCodeAt(index)) index += 1;
  if (index === length) return left.length - right.length;
  return codePointRank(left.charCodeAt(index)) - codePointRank(right.charCodeAt(index));
}

/** UTF-16 puts surrogates (code points from U+10000) before U+E000 … U+FFFF; moved behind them the order is right. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
