import { PromptmeshError } from "@promptmesh/client";
import { LinkButton } from "../components/Button";
import { Icon, type IconName } from "../components/Icon";
import { Menu, type MenuItem } from "../components/Menu";
import { Avatar } from "../components/Pieces";
import { match, navigate, place, query } from "../router/router";
import { to } from "../router/routes";
import { actFor, organisations, readOrganisations } from "../state/organisations";
import { actingFor, isAdmin, isAuditor, isModerator, logOut, user, who } from "../state/session";
import { setTheme, theme, type Theme } from "../state/theme";
import { toast } from "../state/toasts";
import css from "../app.module.css";
import { ActingFor } from "./ActingFor";
import icon from "../icon.svg";

interface Entry {
  label: string;
  href: string;
  names: string[];
}

/** What the navigation shows to whom. */
function entries(): Entry[] {
  const all: Entry[] = [{ label: "Feed", href: to.feed(), names: ["feed", "tag"] }];
  if (user.value) all.push({ label: "Playground", href: to.playground(), names: ["playground"] });
  if (isModerator.value) all.push({ label: "Moderation", href: to.moderation(), names: ["moderation"] });
  if (isAdmin.value) {
    all.push({ label: "Users", href: to.users(), names: ["users"] });
    all.push({ label: "Status", href: to.status(), names: ["status"] });
  }
  if (isAuditor.value) all.push({ label: "Audit", href: to.audit(), names: ["audit"] });
  return all;
}

export function Header() {
  const here = match.value.route.name;
  const then = here === "log-in" || here === "register" ? (query.value.get("then") ?? "") : place.value.path;
  const known = user.value;
  return (
    <header class={css["header"]}>
      <div class={css["bar"]}>
        <a class={css["brand"]} href="/">
          <img src={icon} width={26} height={26} alt="" />
          <span>Promptmesh</span>
        </a>
        <nav class={css["nav"]} aria-label="Main">
          {entries().map(({ label, href, names }) => (
            <a key={href} href={href} aria-current={names.includes(here) ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <div class={css["end"]}>
          {known && <ActingFor short />}
          {known ? (
            <LinkButton href={to.write()} kind="primary" size="s" icon="pen">
              Write
            </LinkButton>
          ) : (
            who.value.state === "anonymous" && (
              <>
                <LinkButton class={css["wide-only"]} href={to.logIn(then)} kind="quiet" size="s">
                  Log in
                </LinkButton>
                <LinkButton href={to.register(then)} kind="primary" size="s">
                  Register
                </LinkButton>
              </>
            )
          )}
          <div class={css["wide-only"]}>
            <ThemeMenu />
          </div>
          {known && <AccountMenu name={known.displayName} id={known.userId} />}
          {!known && (
            <div class={css["phone"]}>
              <Menu label="Menu" trigger={<Icon name="menu" />} items={[...phoneItems(), { label: "Log in", icon: "person", href: to.logIn(then) }, themeItem()]} />
            </div>
          )}
        </div>
      </div>
    </header>
  );
}

const ICONS: Record<string, IconName> = { Feed: "list", Playground: "play", Moderation: "check", Users: "person", Status: "clock", Audit: "search" };

const phoneItems = (): MenuItem[] => entries().map(({ label, href }) => ({ label, href, icon: ICONS[label] }));

function AccountMenu({ name, id }: { name: string; id: string }) {
  const items: MenuItem[] = [
    { label: "My posts", icon: "person", href: to.person(id) },
    { label: "API keys", icon: "key", href: to.keys() },
    { label: "Usage", icon: "clock", href: to.usage() },
    { label: "Teams", icon: "person", href: to.team() },
    ...organisationItems(),
    { label: "Account", icon: "gear", href: to.account() },
    { label: "Log out", icon: "leave", run: () => void leave() },
  ];
  const trigger = <Avatar name={name} size="s" />;
  // On a phone the same menu holds the navigation too.
  return (
    <>
      <div class={css["wide-only"]}>
        <Menu label={`Account of ${name}`} trigger={trigger} items={items} onOpen={readOrganisations} />
      </div>
      <div class={css["phone"]}>
        <Menu
          label={`Menu and account of ${name}`}
          trigger={trigger}
          items={[...phoneItems(), ...items.slice(0, -1), themeItem(), ...items.slice(-1)]}
          onOpen={readOrganisations}
        />
      </div>
    </>
  );
}

/** Whom one can act for; nothing where there is no choice. */
function organisationItems(): MenuItem[] {
  const all = organisations.value;
  if (all.length < 2) return [];
  return all.map((one) => ({
    label: `Act for ${one.personal ? "yourself" : one.displayName}`,
    icon: "link",
    checked: one.orgId === actingFor.value,
    run: () => void actFor(one),
  }));
}

export async function leave(): Promise<void> {
  try {
    await logOut();
    toast("You are logged out.");
  } catch (error) {
    const stays = error instanceof PromptmeshError && error.reason === "SESSION_STAYS_OPEN" ? error : undefined;
    if (!stays) {
      toast("The server cannot be reached, so you are still logged in. Try again in a moment.", { kind: "problem" });
      return;
    }
    const until = stays.metadata["open_until"];
    const end = until ? new Date(until).toLocaleString() : "it expires";
    toast(`You are logged out here, but the server could not be reached: the session stays open until ${end}.`, { kind: "problem" });
  }
  navigate(to.feed());
}

export const THEMES: { value: Theme; label: string; icon: "screen" | "sun" | "moon" }[] = [
  { value: "system", label: "As the system", icon: "screen" },
  { value: "light", label: "Light", icon: "sun" },
  { value: "dark", label: "Dark", icon: "moon" },
];

/** One entry that goes round, where there is no room for a menu of its own. */
function themeItem(): MenuItem {
  const at = THEMES.findIndex((one) => one.value === theme.value);
  const next = THEMES[(at + 1) % THEMES.length]!;
  return { label: `Theme: ${theme.value}`, icon: THEMES[at]!.icon, run: () => setTheme(next.value) };
}

function ThemeMenu() {
  const chosen = theme.value;
  const items = THEMES.map(({ value, label, icon: name }) => ({
    label,
    icon: name,
    checked: value === chosen,
    run: () => setTheme(value),
  }));
  return <Menu label="Theme" trigger={<Icon name={THEMES.find((one) => one.value === chosen)!.icon} />} items={items} />;
}
