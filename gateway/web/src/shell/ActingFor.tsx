/* The team that one acts for, by name, where that matters: whose posts, keys and money these are. Nothing for oneself. */
import { classes } from "../components/classes";
import { to } from "../router/routes";
import { actingTeam } from "../state/organisations";
import css from "../app.module.css";

/** `short`: the name alone, where there is little room. */
export function ActingFor({ short = false }: { short?: boolean }) {
  const team = actingTeam.value;
  if (!team) return null;
  return (
    <a class={classes(css["acting"], short && css["short"])} href={to.team()} title={`You act for ${team.displayName}`}>
      <span class={short ? "visually-hidden" : undefined}>{short ? "You act for " : "for "}</span>
      <bdi>{team.displayName}</bdi>
    </a>
  );
}
