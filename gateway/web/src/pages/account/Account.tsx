/* Who one is, how one logs in and where one is logged in, what is kept of one, and how the app looks. */
import { useState } from "preact/hooks";
import { Button, LinkButton } from "../../components/Button";
import { CopyButton } from "../../components/CopyButton";
import { Icon } from "../../components/Icon";
import { Page } from "../../components/Page";
import { Avatar, Badge, Card } from "../../components/Pieces";
import { roleName, shownRoles } from "../../components/roles";
import { Time } from "../../components/Time";
import { to } from "../../router/routes";
import { leave, THEMES } from "../../shell/Header";
import { user } from "../../state/session";
import { setTheme, theme } from "../../state/theme";
import { Email } from "./Email";
import { Factors } from "./Factors";
import { Identities } from "./Identities";
import { Leaving } from "./Leaving";
import { Name } from "./Name";
import { Password } from "./Password";
import { Sessions } from "./Sessions";
import css from "./account.module.css";

export default function Account() {
  return (
    <Page title="Account">
      <Card>
        <Me />
      </Card>
      <Name />
      <Email />
      <Password />
      <Factors />
      <Identities />
      <Sessions />
      <Card>
        <Themes />
      </Card>
      <Leaving />
    </Page>
  );
}

function Me() {
  const [leaving, setLeaving] = useState(false);
  const me = user.value;
  if (!me) return null;
  const out = async () => {
    setLeaving(true);
    await leave();
    setLeaving(false);
  };
  return (
    <section class="stack" aria-label="You">
      <div class={css["me"]}>
        <Avatar name={me.displayName} size="l" />
        <div class={css["who"]}>
          <h2>{me.displayName}</h2>
          <p class="soft">{me.email}</p>
          <div class="row">
            {shownRoles(me.roles).map((role) => (
              <Badge key={role}>{roleName(role)}</Badge>
            ))}
            <span class="small faint">
              Registered <Time at={me.createTime} />
            </span>
          </div>
        </div>
      </div>
      <dl class={css["ids"]}>
        <Id name="Your id" value={me.userId} />
        <Id name="Organisation" value={me.orgId} />
      </dl>
      <div class="row">
        <LinkButton href={to.person(me.userId)}>My posts</LinkButton>
        <LinkButton href={to.keys()} icon="key">
          API keys
        </LinkButton>
        <LinkButton href={to.usage()} icon="clock">
          Usage
        </LinkButton>
        <Button icon="leave" busy={leaving} onClick={() => void out()}>
          Log out
        </Button>
      </div>
    </section>
  );
}

const Id = ({ name, value }: { name: string; value: string }) => (
  <div>
    <dt>{name}</dt>
    <dd>
      <code>{value}</code>
      <CopyButton text={value} />
    </dd>
  </div>
);

function Themes() {
  return (
    <fieldset class={css["themes"]}>
      <legend>
        <h2>Theme</h2>
      </legend>
      {THEMES.map(({ value, label, icon }) => (
        <label key={value} class={css["theme"]}>
          <input type="radio" name="theme" value={value} checked={theme.value === value} onChange={() => setTheme(value)} />
          <Icon name={icon} />
          {label}
        </label>
      ))}
    </fieldset>
  );
}
