import { useEffect, useState } from "preact/hooks";
import { Page } from "../../components/Page";
import { LogInForm } from "../../getting-in/LogInForm";
import { Providers, useProviders } from "../../getting-in/Providers";
import { navigate, query } from "../../router/router";
import { to } from "../../router/routes";
import { who } from "../../state/session";
import { afterwards } from "./afterwards";

export default function LogIn() {
  const then = afterwards(query.value.get("then"));
  const [second, setSecond] = useState(false);
  const providers = useProviders();
  const state = who.value.state;
  useEffect(() => {
    if (state === "in") navigate(then, { replace: true });
  }, [state]);
  return (
    <Page
      title="Log in"
      width="narrow"
      lead={
        !second && (
          <>
            New here? <a href={to.register(then)}>Register</a>
          </>
        )
      }
    >
      <LogInForm name="log-in" onStep={setSecond} more={providers.length > 0 && <Providers providers={providers} then={then} />} />
    </Page>
  );
}
