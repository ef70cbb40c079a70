/* The page at the address: its code is loaded, who may not see it is told so, and the focus goes to its heading. */
import { Component, type ComponentChildren, type ComponentType } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { LinkButton } from "../components/Button";
import { EmptyState, ErrorNote, Skeleton } from "../components/Pieces";
import { Page } from "../components/Page";
import { match, place, settleScroll } from "../router/router";
import { to, type Access, type PageProps, type Route } from "../router/routes";
import { isAdmin, isAuditor, isModerator, user, who } from "../state/session";

interface Loaded {
  route: Route;
  Content: ComponentType<PageProps>;
}

export function Outlet() {
  const { route, params } = match.value;
  const { visit, path } = place.value;
  const [loaded, setLoaded] = useState<Loaded>();
  const [failed, setFailed] = useState<unknown>();
  const shown = useRef(visit);

  useEffect(() => {
    let current = true;
    setFailed(undefined);
    route.load().then(
      (module) => current && setLoaded({ route, Content: module.default }),
      (error: unknown) => current && setFailed(error),
    );
    return () => {
      current = false;
    };
  }, [route]);

  const ready = loaded?.route === route;

  // Once the page stands: scroll to where it was, and move the focus so that a screen reader reads what is new.
  useLayoutEffect(() => {
    if (!ready || shown.current === visit) return;
    shown.current = visit;
    document.querySelector<HTMLElement>("#main h1")?.focus({ preventScroll: true });
    settleScroll();
  }, [ready, visit]);

  if (failed !== undefined) {
    return (
      <Page title="This page did not load">
        {/* Loaded anew, for the app may have been replaced by a newer one, whose parts have other names. */}
        <ErrorNote error={failed} retry={() => location.reload()} />
      </Page>
    );
  }
  if (!ready || !loaded) return <Waiting />;
  return (
    <Boundary key={`${path} ${visit}`}>
      <Gate access={route.access}>
        <loaded.Content key={path} params={params} />
      </Gate>
    </Boundary>
  );
}

const Waiting = () => (
  <Page title="Promptmesh" heading={false}>
    <Skeleton lines={5} label="Loading the page" />
  </Page>
);

function Gate({ access, children }: { access: Access; children: ComponentChildren }) {
  if (access === "anyone") return <>{children}</>;
  if (who.value.state === "restoring") return <Waiting />;
  if (!user.value) {
    return (
      <Page title="Log in first">
        <EmptyState
          title="This page is for people who are logged in"
          action={
            <div class="row">
              <LinkButton kind="primary" href={to.logIn(place.value.path + place.value.query)}>
                Log in
              </LinkButton>
              <LinkButton href={to.register(place.value.path + place.value.query)}>Register</LinkButton>
            </div>
          }
        >
          You come back here afterwards.
        </EmptyState>
      </Page>
    );
  }
  const allowed = access === "session" || { moderator: isModerator, auditor: isAuditor, admin: isAdmin }[access].value;
  if (allowed) return <>{children}</>;
  return (
    <Page title="Not for your account">
      <EmptyState title={`This page is for ${access}s`} action={<LinkButton href={to.feed()}>To the feed</LinkButton>}>
        An admin can give you that role. Then load this page again.
      </EmptyState>
    </Page>
  );
}

/** A fault in a page's code stays in that page: the shell, and what was typed, stand. */
class Boundary extends Component<{ children: ComponentChildren }, { error?: unknown }> {
  override state: { error?: unknown } = {};

  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override componentDidCatch(error: unknown) {
    console.error(error);
  }

  render() {
    if (!("error" in this.state)) return this.props.children;
    return (
      <Page title="Something broke">
        <ErrorNote error={this.state.error} retry={() => location.reload()} />
      </Page>
    );
  }
}
