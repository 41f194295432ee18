/** The lines that differ between two texts, as people read them: `-` gone, `+` new, two lines around. */
export function difference(before: string, after: string, colors: boolean): string {
  const a = before === "" ? [] : before.trimEnd().split("\n");
  const b = after === "" ? [] : after.trimEnd().split("\n");
  const lines = edits(a, b);
  if (!lines.some((line) => line[0] !== " ")) return "";
  const near = (index: number): boolean => lines.slice(Math.max(0, index - 2), index + 3).some((line) => line[0] !== " ");
  const paint = (line: string): string => (!colors || line[0] === " " ? line : `\u001b[3${line[0] === "-" ? 1 : 2}m${line}\u001b[39m`);
  return lines.flatMap((line, index) => (near(index) ? [paint(line)] : [])).join("\n");
}

/** Longest common subsequence; documents have some hundred lines, so the table is small. */
function edits(a: readonly string[], b: readonly string[]): string[] {
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i * width + j] =
        a[i] === b[j] ? (common[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(common[(i + 1) * width + j] ?? 0, common[i * width + j + 1] ?? 0);
    }
  }
  const lines: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(`  ${a[i]}`);
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0))) {
      lines.push(`- ${a[i]}`);
      i += 1;
    } else {
      lines.push(`+ ${b[j]}`);
      j += 1;
    }
  }
  return lines;
}
