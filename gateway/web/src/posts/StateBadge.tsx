import { PostState } from "@promptmesh/client";
import { Badge, type Tone } from "../components/Pieces";
import type { IconName } from "../components/Icon";

const LOOKS: Record<PostState, [string, Tone, IconName]> = {
  [PostState.UNSPECIFIED]: ["Unknown", "neutral", "clock"],
  [PostState.PENDING]: ["Being checked", "accent", "clock"],
  [PostState.PUBLISHED]: ["Published", "good", "check"],
  [PostState.HELD]: ["Held for a moderator", "warn", "clock"],
  [PostState.REJECTED]: ["Rejected", "bad", "warning"],
  [PostState.DELETED]: ["Deleted", "neutral", "trash"],
};

/** The state of a post in words. */
export function StateBadge({ state }: { state: PostState }) {
  const [words, tone, icon] = LOOKS[state];
  return (
    <Badge tone={tone} icon={icon}>
      {words}
    </Badge>
  );
}
