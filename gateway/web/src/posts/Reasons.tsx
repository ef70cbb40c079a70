/* Why moderation held or rejected a revision, in its own words. */
import type { StateReason } from "@promptmesh/client";
import css from "./posts.module.css";

/** What rules that held a text ended with up to policy `default-1`. Whether somebody looks, or has, the page says itself. */
const PROMISE = /\s*A moderator will look at it\.\s*$/;

const told = (message: string): string => message.replace(PROMISE, "") || "No more is said.";

export function Reasons({ reasons }: { reasons: StateReason[] }) {
  if (!reasons.length) return null;
  return (
    <ul class={css["reasons"]} aria-label="Reasons">
      {reasons.map(({ category, message }, index) => (
        <li key={index}>
          {told(message)} <span class="faint small">({category.replaceAll("_", " ").replaceAll("/", ", ")})</span>
        </li>
      ))}
    </ul>
  );
}
