/* The lines that differ between two texts, for who must decide between them. */

export interface Line {
  kind: "same" | "gone" | "new";
  text: string;
}

/** Lines around a difference that are shown with it. */
const AROUND = 2;
/** Lines of either text above which nothing is compared: the table of the comparison has the product of both. */
export const LINES_MAX = 2_000;

/** The differences with some lines around; undefined where the texts are too long, empty where they are the same. */
export function diff(before: string, after: string): Line[] | undefined {
  const old = before.split("\n");
  const next = after.split("\n");
  if (old.length > LINES_MAX || next.length > LINES_MAX) return undefined;
  const all = compare(old, next);
  const near = (index: number): boolean =>
    all.slice(Math.max(0, index - AROUND), index + AROUND + 1).some((line) => line.kind !== "same");
  return all.filter((_, index) => near(index));
}

/** By the longest common subsequence. */
function compare(old: string[], next: string[]): Line[] {
  const width = next.length + 1;
  const longest = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = next.length - 1; j >= 0; j--) {
      longest[i * width + j] =
        old[i] === next[j]
          ? longest[(i + 1) * width + j + 1]! + 1
          : Math.max(longest[(i + 1) * width + j]!, longest[i * width + j + 1]!);
    }
  }
  const out: Line[] = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < next.length) {
    if (i < old.length && j < next.length && old[i] === next[j]) {
      out.push({ kind: "same", text: old[i]! });
      i++;
      j++;
    } else if (j >= next.length || (i < old.length && longest[(i + 1) * width + j]! >= longest[i * width + j + 1]!)) {
      out.push({ kind: "gone", text: old[i++]! });
    } else out.push({ kind: "new", text: next[j++]! });
  }
  return out;
}
