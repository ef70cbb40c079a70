import type { ExampleDelta } from "./gen/promptmesh/prompts/v1/posts_pb.js";

/** The example's text after a piece of it came. Offsets count characters (code points), as the contract says. */
export function applyExampleDelta(text: string, delta: Pick<ExampleDelta, "offset" | "text">): string {
  if (delta.offset === 0) return delta.text;
  const known = Array.from(text);
  return (known.length === delta.offset ? text : known.slice(0, delta.offset).join("")) + delta.text;
}
