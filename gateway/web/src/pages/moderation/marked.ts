/* A case's text in pieces: what each piece is, and which findings cover it. Positions of findings count code points. */
import type { Finding } from "@promptmesh/client";

export interface Piece {
  text: string;
  /** Numbers of the findings that cover it, from 0; several may overlap. */
  findings: number[];
  /** Numbers of those that begin here. */
  begins: number[];
}

/** The text cut wherever a finding begins or ends. */
export function pieces(text: string, findings: Pick<Finding, "start" | "end">[]): Piece[] {
  const points = Array.from(text);
  const within = (at: number) => Math.min(Math.max(at, 0), points.length);
  const ranges = findings.map(({ start, end }) => ({ start: within(start), end: within(end) }));
  const cuts = new Set([0, points.length]);
  for (const { start, end } of ranges) if (start < end) cuts.add(start).add(end);
  const sorted = [...cuts].sort((a, b) => a - b);
  const out: Piece[] = [];
  for (let at = 0; at + 1 < sorted.length; at++) {
    const [from, to] = [sorted[at]!, sorted[at + 1]!];
    const covering = ranges.flatMap(({ start, end }, number) => (start <= from && to <= end ? [number] : []));
    out.push({
      text: points.slice(from, to).join(""),
      findings: covering,
      begins: covering.filter((number) => ranges[number]!.start === from),
    });
  }
  return out;
}

export interface Glyph {
  /** `plain` is shown as it is; of the others `text` is what stands for them, and `name` says what they are. */
  kind: "plain" | "space" | "line" | "hidden";
  text: string;
  name?: string;
}

const NAMES: Record<string, string> = {
  "\t": "tab",
  "\u00a0": "no-break space",
  "\u00ad": "soft hyphen",
  "\u200b": "zero-width space",
  "\u200c": "zero-width non-joiner",
  "\u200d": "zero-width joiner",
  "\u200e": "left-to-right mark",
  "\u200f": "right-to-left mark",
  "\u202a": "left-to-right embedding",
  "\u202b": "right-to-left embedding",
  "\u202c": "end of direction",
  "\u202d": "left-to-right override",
  "\u202e": "right-to-left override",
  "\u2060": "word joiner",
  "\u2066": "left-to-right isolate",
  "\u2067": "right-to-left isolate",
  "\u2068": "first strong isolate",
  "\u2069": "end of isolate",
  "\u3164": "Hangul filler",
  "\ufeff": "byte order mark",
};

// Spaces two and more together or before a line ends, every space but the common one, and what is not seen at all.
const UNSEEN = /( {2,}| +(?=\n))|(\n)|([\p{Zs}\p{Zl}\p{Zp}\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u115f\u1160\u3164\uffa0\u2800])/gu;

/** The text with what is invisible in it named. Nothing that turns its direction is left. */
export function glyphs(text: string): Glyph[] {
  const out: Glyph[] = [];
  let last = 0;
  const plain = (to: number) => {
    if (to > last) out.push({ kind: "plain", text: text.slice(last, to) });
  };
  for (const found of text.matchAll(UNSEEN)) {
    const [whole, spaces, line] = found;
    if (whole === " " && !spaces) continue;
    plain(found.index);
    if (spaces) out.push({ kind: "space", text: "·".repeat(spaces.length), name: `${spaces.length} spaces` });
    else if (line) out.push({ kind: "line", text: "\n" });
    else out.push({ kind: "hidden", text: short(whole), name: NAMES[whole] ?? code(whole) });
    last = found.index + whole.length;
  }
  plain(text.length);
  return out;
}

const code = (char: string): string => `U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;

/** Letters written in tag characters, which nobody sees and models read, are shown as what they say. */
function short(char: string): string {
  const point = char.codePointAt(0)!;
  if (point > 0xe0020 && point < 0xe007f) return `tag ${String.fromCharCode(point - 0xe0000)}`;
  return char === "\t" ? "tab" : code(char);
}
