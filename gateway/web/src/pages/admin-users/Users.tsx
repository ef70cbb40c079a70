/* People, for admins: found by e-mail or name, their roles changed. What is searched for stands in the address. */
import { type User } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { TextField } from "../../components/Field";
import { Icon } from "../../components/Icon";
import { List } from "../../components/List";
import { Menu } from "../../components/Menu";
import { Page } from "../../components/Page";
import { Avatar, Badge, EmptyState } from "../../components/Pieces";
import { roleName, shownRoles } from "../../components/roles";
import { millis, Time } from "../../components/Time";
import { query, setQuery } from "../../router/router";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { usePaged } from "../../state/paged";
import { user } from "../../state/session";
import { ActDialog } from "./ActDialog";
import { ACTS, type ActName } from "./acts";
import { ChangeRoles } from "./ChangeRoles";
import css from "./users.module.css";

const PAGE_SIZE = 25;
const QUERY_MAX = 254; // ListUsersRequest.query
/** After the last key press, so that a word is one question. */
const PAUSE_MS = 250;

export default function Users() {
  const asked = query.value.get("q") ?? "";
  const [changing, setChanging] = useState<User>();
  const [doing, setDoing] = useState<{ act: ActName; one: User }>();
  const list = usePaged(`${user.value?.userId} ${asked}`, async (pageToken, signal) => {
    const answer = await api.auth.listUsers({ pageSize: PAGE_SIZE, pageToken, query: asked }, { signal });
    return { items: answer.users, nextPageToken: answer.nextPageToken };
  });
  return (
    <Page title="Users" width="wide" lead="Who is registered, and what they may do.">
      <Search asked={asked} />
      <List
        list={list}
        label="Users"
        moreLabel="Show more"
        empty={
          <EmptyState title="Nobody is found" action={<Button onClick={() => setQuery({ q: undefined })}>Show everyone</Button>}>
            The search looks for e-mail addresses that begin so, and names that contain it.
          </EmptyState>
        }
      >
        {(users) => (
          <ul class={css["users"]} aria-label="Users">
            {users.map((one) => (
              <Row key={one.userId} one={one} onChange={() => setChanging(one)} onAct={(act) => setDoing({ act, one })} />
            ))}
          </ul>
        )}
      </List>
      {changing && (
        <ChangeRoles
          one={changing}
          onClose={() => setChanging(undefined)}
          onChanged={(next) => {
            const merged = { ...changing, roles: next.roles };
            list.change((users) => users.map((one) => (one.userId === merged.userId ? merged : one)));
            setChanging(undefined);
          }}
        />
      )}
      {doing && (
        <ActDialog
          {...doing}
          onClose={() => setDoing(undefined)}
          onDone={(next) => {
            const { userId } = doing.one;
            list.change((users) => users.map((one) => (one.userId === userId ? { ...one, ...changeOf(next) } : one)));
            setDoing(undefined);
          }}
        />
      )}
    </Page>
  );
}

/** What an act told anew of a person; the time of their last log-in is the list's own. */
function changeOf(next: Partial<User>): Partial<User> {
  if (!next.userId) return next;
  const { suspendTime, suspendReason = "", secondFactor = false } = next;
  return { suspendTime, suspendReason, secondFactor } as Partial<User>;
}

const suspended = (one: User): boolean => one.suspendTime !== undefined && millis(one.suspendTime) > Date.now();

function actsFor(one: User, me: boolean): ActName[] {
  const first: ActName[] = me ? [] : [suspended(one) ? "restore" : "suspend"];
  return [...first, "sessions", ...(one.secondFactor ? (["factors"] as const) : []), "keys", "plan"];
}

function Search({ asked }: { asked: string }) {
  const [text, setText] = useState(asked);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  // Back, forward and "Show everyone" change the address; what is typed follows.
  useEffect(() => setText(asked), [asked]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const ask = (next: string) => setQuery({ q: next.trim() });
  return (
    <form
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        clearTimeout(timer.current);
        ask(text);
      }}
    >
      <TextField
        label="Search"
        type="search"
        name="q"
        placeholder="E-mail or name"
        autocomplete="off"
        maxLength={QUERY_MAX}
        value={text}
        onValue={(next) => {
          setText(next);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => ask(next), PAUSE_MS);
        }}
      />
    </form>
  );
}

function Row({ one, onChange, onAct }: { one: User; onChange: () => void; onAct: (act: ActName) => void }) {
  const me = one.userId === user.value?.userId;
  return (
    <li class={css["user"]}>
      <Avatar name={one.displayName} />
      <div class={css["who"]}>
        <h2>
          <a href={to.person(one.userId)}>{one.displayName}</a>
          {me && <span class="small faint"> (you)</span>}
        </h2>
        <p class="small soft">
          {one.email}
          {one.plan && ` · plan ${one.plan}`}
        </p>
        {suspended(one) && (
          <p class="small soft">
            Suspended: “{one.suspendReason}”. It ends <Time at={one.suspendTime} />.
          </p>
        )}
      </div>
      <div class={css["roles"]}>
        {suspended(one) && <Badge tone="bad">Suspended</Badge>}
        {one.secondFactor && <Badge>Second factor</Badge>}
        {shownRoles(one.roles).map((role) => (
          <Badge key={role} tone="accent">
            {roleName(role)}
          </Badge>
        ))}
      </div>
      <p class={css["times"]}>
        Registered <Time at={one.createTime} />
        <br />
        {one.lastLoginTime ? (
          <>
            Logged in <Time at={one.lastLoginTime} />
          </>
        ) : (
          "Never logged in"
        )}
      </p>
      <div class={css["do"]}>
        <Button size="s" onClick={onChange}>
          Roles<span class="visually-hidden"> of {one.displayName}</span>
        </Button>
        <Menu
          label={`More for ${one.displayName}`}
          trigger={<Icon name="menu" />}
          items={actsFor(one, me).map((act) => ({ label: ACTS[act].label, run: () => onAct(act) }))}
        />
      </div>
    </li>
  );
}
