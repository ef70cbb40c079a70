/* One act. What it changed, and all that finds it again, is shown when it is opened. */
import type { AuditParty, AuditRecord } from "@promptmesh/client/accounts";
import type { ComponentChildren } from "preact";
import { Icon } from "../../components/Icon";
import { Badge } from "../../components/Pieces";
import { Table } from "../../components/Table";
import { millis, Time } from "../../components/Time";
import { changesOf } from "./changes";
import { filtersOf, setFilters } from "./filters";
import css from "./audit.module.css";

const nameOf = (party: AuditParty | undefined): string =>
  party ? party.name || [party.kind, party.id.slice(0, 13)].filter(Boolean).join(" ") || "nobody known" : "nobody known";

export function Record({ one }: { one: AuditRecord }) {
  const changes = changesOf(one.change);
  return (
    <li class={css["record"]}>
      <details>
        <summary>
          <span class={css["action"]}>{one.action}</span>
          {!one.succeeded && <Badge tone="bad">Refused</Badge>}
          {one.erased && <Badge>Erased</Badge>}
          <span class={css["who"]}>
            {nameOf(one.actor)} <span aria-hidden="true">→</span>
            <span class="visually-hidden"> on </span> {nameOf(one.subject)}
          </span>
          <span class={css["when"]}>
            <Time at={one.actTime} />
          </span>
          <span class={css["opens"]}>
            <Icon name="chevron" size={16} />
          </span>
        </summary>
        <div class={css["inside"]}>
          {one.erased && <p class="soft">Personal fields were erased with their person; the chain holds without them.</p>}
          <dl class={css["facts"]}>
            <Fact name="When">{one.actTime && new Date(millis(one.actTime)).toISOString()}</Fact>
            <Fact name="By">
              <Party party={one.actor} filter="actor" />
            </Fact>
            <Fact name="On">
              <Party party={one.subject} filter="subject" />
            </Fact>
            <Fact name="Reason">{one.reason}</Fact>
            <Fact name="Address">{one.address && <code>{one.address}</code>}</Fact>
            <Fact name="Organisation">{one.orgId && <code>{one.orgId}</code>}</Fact>
            <Fact name="Request">{one.requestId && <code>{one.requestId}</code>}</Fact>
            <Fact name="Number">{String(one.sequence)}</Fact>
            <Fact name="Hash">
              <code>{one.hash}</code>
            </Fact>
          </dl>
          {changes.length > 0 && (
            <Table label={`What number ${one.sequence} changed`}>
              <thead>
                <tr>
                  <th scope="col">Field</th>
                  <th scope="col">Before</th>
                  <th scope="col">After</th>
                </tr>
              </thead>
              <tbody>
                {changes.map(({ field, before, after }) => (
                  <tr key={field}>
                    <th scope="row">{field}</th>
                    <td>{before}</td>
                    <td>{after}</td>
                  </tr>
                ))}
              </tbody>
            </Table>
          )}
        </div>
      </details>
    </li>
  );
}

const Fact = ({ name, children }: { name: string; children: ComponentChildren }) =>
  children ? (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  ) : null;

function Party({ party, filter }: { party: AuditParty | undefined; filter: "actor" | "subject" }) {
  if (!party?.id) return <>{nameOf(party)}</>;
  return (
    <>
      {party.name && `${party.name} · `}
      {party.kind}{" "}
      <button type="button" class={css["filter"]} onClick={() => setFilters({ ...filtersOf(), [filter]: party.id })} title="Show only this">
        {party.id}
      </button>
    </>
  );
}
