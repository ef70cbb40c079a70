/* Who one is, what one has used and may use, and how the app looks. */
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
import { Limits } from "./Limits";
import { Usage } from "./Usage";
import css from "./account.module.css";

export default function Account() {
  return (
    <Page title="Account">
      <Card>
        <Me />
      </Card>
      <Card>
        <section class="stack" aria-labelledby="usage">
          <h2 id="usage">Usage this month</h2>
          <Usage />
        </section>
      </Card>
      <Card>
        <section class="stack" aria-labelledby="limits">
          <h2 id="limits">Limits</h2>
          <Limits />
        </section>
      </Card>
      <Card>
        <Themes />
      </Card>
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
              Here since <Time at={me.createTime} />
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
