/* Markdown as plain text, for where there is room for a few lines only: its marks are gone, its words stay. What is
   understood is what `Prose` understands; all else is text as it stands. */
import { FENCE, HEADING, INLINE, ITEM, QUOTE } from "./markdown";

/** Lines of `text` without marks; empty lines are left out. It is text, never HTML. */
export function plainText(text: string): string {
  const out: string[] = [];
  let fence: string | undefined;
  for (const line of text.replace(/\r\n?/g, "\n").split("\n")) {
    if (fence !== undefined) {
      if (line.startsWith(fence)) fence = undefined;
      else out.push(line);
      continue;
    }
    fence = FENCE.exec(line)?.[1];
    if (fence !== undefined) continue;
    const words = HEADING.exec(line)?.[2] ?? ITEM.exec(line)?.[2] ?? QUOTE.exec(line)?.[1] ?? (ITEM.test(line) ? "" : line);
    out.push(inline(words));
  }
  return out.filter((line) => line.trim()).join("\n");
}

const inline = (text: string): string =>
  text.replace(INLINE, (whole, code?: string, strong?: string, emphasis?: string, label?: string) => {
    if (code) return code.slice(1, -1);
    if (strong) return strong.slice(2, -2);
    if (emphasis) return emphasis.slice(1, -1);
    return label ?? whole;
  });
