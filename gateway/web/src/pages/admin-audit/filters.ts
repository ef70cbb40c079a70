/* What of the trail is asked for: it stands in the address, so that a link keeps it. */
import { timestampFromDate, type Timestamp } from "@promptmesh/client";
import { query, setQuery } from "../../router/router";

export const FILTERS = ["actor", "subject", "action", "org", "from", "to"] as const;
export type Filters = Record<(typeof FILTERS)[number], string>;

export const NONE: Filters = { actor: "", subject: "", action: "", org: "", from: "", to: "" };

export const filtersOf = (): Filters => {
  const found = { ...NONE };
  for (const name of FILTERS) found[name] = query.value.get(name) ?? "";
  return found;
};

export const setFilters = (filters: Filters): void => setQuery({ ...filters });

/** Local time of a `datetime-local` field; undefined where none, or none that can be read, stands in it. */
export function moment(text: string): Timestamp | undefined {
  const date = new Date(text);
  return text && !Number.isNaN(date.getTime()) ? timestampFromDate(date) : undefined;
}

/** The request's fields. */
export function requestOf(filters: Filters) {
  const [beginTime, endTime] = [moment(filters.from), moment(filters.to)];
  return {
    actorId: filters.actor.trim(),
    subjectId: filters.subject.trim(),
    action: filters.action.trim(),
    orgId: filters.org.trim(),
    ...(beginTime && { beginTime }),
    ...(endTime && { endTime }),
  };
}
