/* The Markdown that is understood: paragraphs, headings, lists, quotes, code, emphasis, links to http(s) addresses; and its
   plain text, for where there is room for a few lines only. */

// Each in linear time: after `\s` comes what cannot be a space, and `[^]` is what `.` is not, U+2028 too.
export const FENCE = /^(`{3,}|~{3,})(?![`~])\s*(?:\S+\s*)?$/;
export const HEADING = /^(#{1,6})\s+(\S[^]*)$/;
export const ITEM = /^\s{0,3}([-*+]|\d{1,9}[.)])\s+(\S[^]*)?$/;
export const QUOTE = /^>\s?(.*)$/;

// Code, strong, emphasis, [text](address), bare address. No part is unbounded next to another: linear on any input.
export const INLINE =
  /(`[^`\n]{1,1000}`)|(\*\*[^*\n]{1,1000}\*\*)|(\*[^*\s\n][^*\n]{0,1000}\*)|\[([^\]\n]{1,500})\]\((https?:\/\/[^\s()<>]{1,2000})\)|(https?:\/\/[^\s<>"'()]{1,2000})/g;

/** Lines of `text` without its marks; what is no Markdown stands as it is, empty lines are left out. It is text, never HTML. */
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
