/* Text of people and models. It becomes elements by this code alone, never HTML: what looks like a tag is text.
   `markdown.ts` says which Markdown is understood. */
import type { ComponentChildren } from "preact";
import { FENCE, HEADING, INLINE, ITEM, QUOTE } from "./markdown";
import css from "./Prose.module.css";

export function Prose({ text, plain = false }: { text: string; plain?: boolean }) {
  if (plain) return <div class={css["plain"]}>{text}</div>;
  return <div class={css["prose"]}>{blocks(text)}</div>;
}

function blocks(text: string): ComponentChildren[] {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const out: ComponentChildren[] = [];
  let at = 0;
  const take = (test: RegExp, group: number): string[] => {
    const taken: string[] = [];
    for (let found; at < lines.length && (found = test.exec(lines[at]!)); at++) taken.push(found[group] ?? "");
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at]!;
    const fence = FENCE.exec(line);
    if (fence) {
      const code: string[] = [];
      for (at++; at < lines.length && !lines[at]!.startsWith(fence[1]!); at++) code.push(lines[at]!);
      at++;
      out.push(
        <pre tabIndex={0}>
          <code>{code.join("\n")}</code>
        </pre>,
      );
    } else if (HEADING.test(line)) {
      at++;
      // Headings of a text stand below those of the page, whatever their writer chose.
      out.push(<h3>{inline(HEADING.exec(line)![2]!)}</h3>);
    } else if (ITEM.test(line)) {
      const ordered = /^\s*\d/.test(line);
      const items = take(ITEM, 2).map((item) => <li>{inline(item)}</li>);
      out.push(ordered ? <ol>{items}</ol> : <ul>{items}</ul>);
    } else if (QUOTE.test(line)) {
      out.push(<blockquote>{inline(take(QUOTE, 1).join("\n"))}</blockquote>);
    } else if (!line.trim()) {
      at++;
    } else {
      const paragraph: string[] = [];
      while (at < lines.length && lines[at]!.trim() && !(paragraph.length && starts(lines[at]!))) paragraph.push(lines[at++]!);
      out.push(<p>{inline(paragraph.join("\n"))}</p>);
    }
  }
  return out;
}

const starts = (line: string): boolean => FENCE.test(line) || HEADING.test(line) || ITEM.test(line) || QUOTE.test(line);

function inline(text: string): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let last = 0;
  for (const found of text.matchAll(INLINE)) {
    if (found.index > last) out.push(text.slice(last, found.index));
    const [whole, code, strong, emphasis, label, address, bare] = found;
    if (code) out.push(<code>{code.slice(1, -1)}</code>);
    else if (strong) out.push(<strong>{strong.slice(2, -2)}</strong>);
    else if (emphasis) out.push(<em>{emphasis.slice(1, -1)}</em>);
    else if (address) out.push(outside(address, label!));
    else if (bare) out.push(outside(bare, bare));
    last = found.index + whole.length;
  }
  if (last < text.length) out.push(text.slice(last));
  return out;
}

/** A link out of the app; its host is shown where the words hide it. */
function outside(address: string, label: string): ComponentChildren {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    return label;
  }
  const { host } = url;
  // The words are the address itself, and it does not begin with another's name (https://bank.example@host).
  const told = label === address && !url.username && !url.password;
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow ugc" title={address}>
      {label.replace(/\p{Bidi_Control}/gu, "")}
      {told ? null : <span class={css["host"]}> ({host})</span>}
    </a>
  );
}
