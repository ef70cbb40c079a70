/* Where an identity provider sends the browser back to. Its answer is taken out of the address at once and used once. */
import { SecondFactorRequired } from "@promptmesh/client";
import { useEffect, useState } from "preact/hooks";
import { LinkButton } from "../../components/Button";
import { Page } from "../../components/Page";
import { EmptyState, ErrorNote, Skeleton } from "../../components/Pieces";
import { SecondFactor } from "../../getting-in/LogInForm";
import { placeAfterProvider } from "../../getting-in/Providers";
import { navigate, query, setQuery } from "../../router/router";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { session } from "../../state/api";
import { askToLogIn, call } from "../../state/session";
import { toast } from "../../state/toasts";
import { afterwards } from "./afterwards";

/** The answer of this page's address; undefined: it was opened without one. */
function takeAnswer() {
  const asked = query.value;
  const state = asked.get("state");
  if (!state) return undefined;
  const [code = "", error = "", issuer = ""] = ["code", "error", "iss"].map((name) => asked.get(name) ?? "");
  return { state, code, error, issuer };
}

export default function Callback() {
  const [answer] = useState(takeAnswer);
  const [then] = useState(() => afterwards(placeAfterProvider()));
  const [asked, setAsked] = useState<SecondFactorRequired>();
  const [error, setError] = useState<unknown>();
  const done = () => navigate(then, { replace: true });
  const run = async () => {
    if (!answer) return;
    try {
      const { linkToken, linked } = await session.completeProviderLogIn(answer);
      if (linkToken) {
        await askToLogIn("An account has this address already. Log in to it once, and from then on both ways lead to it.");
        await call(() => accountsApi.federation.linkIdentity({ linkToken }));
        toast("It is linked: from now on you can log in with it too.");
      } else if (linked) {
        toast(`${linked.provider} is linked: from now on you can log in with it too.`);
      }
      done();
    } catch (caught) {
      if (caught instanceof SecondFactorRequired) setAsked(caught);
      else setError(caught);
    }
  };
  useEffect(() => {
    setQuery({ state: undefined, code: undefined, error: undefined, iss: undefined, error_description: undefined });
    void run();
  }, []);
  const again = <LinkButton href={to.logIn(then)}>Back to the log-in</LinkButton>;
  return (
    <Page title="Logging in" width="narrow">
      {!answer ? (
        <EmptyState title="Nothing to finish here" action={again}>
          This page is only where another provider sends you back to.
        </EmptyState>
      ) : asked ? (
        <SecondFactorThen asked={asked} then={done} onOver={() => navigate(to.logIn(then), { replace: true })} />
      ) : error !== undefined ? (
        <div class="stack">
          <ErrorNote title="You are not logged in" error={error} />
          <div class="row">{again}</div>
        </div>
      ) : (
        <Skeleton lines={3} label="Finishing the log-in" />
      )}
    </Page>
  );
}

function SecondFactorThen({ asked, then, onOver }: { asked: SecondFactorRequired; then: () => void; onOver: () => void }) {
  useEffect(
    () =>
      session.subscribe(({ state }) => {
        if (state === "signed-in") then();
      }),
    [],
  );
  return <SecondFactor asked={asked} onOver={onOver} />;
}
