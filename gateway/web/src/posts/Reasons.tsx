/* Why moderation held or rejected a revision, in its own words. */
import type { StateReason } from "@promptmesh/client";
import css from "./posts.module.css";

export function Reasons({ reasons }: { reasons: StateReason[] }) {
  if (!reasons.length) return null;
  return (
    <ul class={css["reasons"]} aria-label="Reasons">
      {reasons.map(({ category, message }, index) => (
        <li key={index}>
          {message || "No more is said."} <span class="faint small">({category.replaceAll("_", " ").replaceAll("/", ", ")})</span>
        </li>
      ))}
    </ul>
  );
}
