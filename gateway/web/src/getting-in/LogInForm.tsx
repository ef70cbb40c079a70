/* Logging in: e-mail and password, then the second factor where there is one; or a passkey alone, or another provider. */
import { PromptmeshError, type SecondFactorRequired } from "@promptmesh/client";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Button } from "../components/Button";
import { PasswordField, TextField } from "../components/Field";
import { Form, SubmitButton, useForm } from "../components/form";
import { ErrorNote, Note } from "../components/Pieces";
import { isAbort } from "../components/problems";
import { to } from "../router/routes";
import { session } from "../state/api";
import { logIn } from "../state/session";
import { askingForPasskey, passkeysWork } from "./passkeys";
import { ProofForm, waysOf } from "./ProofForm";
import css from "./getting-in.module.css";

export interface LogInFormProps {
  email?: string;
  /** Keeps what is typed under this name. */
  name?: string;
  /** Beside the button. */
  aside?: ComponentChildren;
  /** Below the ways that are always there: those of the operator's providers. */
  more?: ComponentChildren;
  /** Before one leaves by a link in it. */
  onLeave?: () => void;
  /** Whether a second factor is asked for now: the page then offers nothing else. */
  onStep?: (second: boolean) => void;
}

export function LogInForm({ email = "", name, aside, more, onLeave, onStep }: LogInFormProps) {
  const [asked, setAsked] = useState<SecondFactorRequired>();
  const [over, setOver] = useState("");
  const [known, setKnown] = useState(email);
  const begin = (message: string) => {
    onStep?.(false);
    setAsked(undefined);
    setOver(message);
  };
  if (asked) return <SecondFactor asked={asked} onOver={begin} />;
  return (
    <div class="stack">
      {over && <Note tone="warn">{over}</Note>}
      <Password
        email={known}
        {...(name !== undefined && { name })}
        aside={aside}
        {...(onLeave && { onLeave })}
        onAsked={(challenge, typed) => {
          setKnown(typed);
          setOver("");
          onStep?.(true);
          setAsked(challenge);
        }}
      />
      <OtherWays>{more}</OtherWays>
    </div>
  );
}

interface PasswordProps extends LogInFormProps {
  onAsked: (asked: SecondFactorRequired, email: string) => void;
}

function Password({ email = "", name, aside, onLeave, onAsked }: PasswordProps) {
  const form = useForm({
    ...(name !== undefined && { name }),
    initial: { email, password: "" },
    secret: ["password"],
    check: ({ email, password }) => ({
      ...(!email && { email: "Enter your e-mail address." }),
      ...(!password && { password: "Enter your password." }),
    }),
    submit: async ({ email, password }) => {
      const asked = await logIn(email, password);
      if (asked) onAsked(asked, email);
    },
  });
  return (
    <Form form={form} label="Log in">
      <TextField label="E-mail" type="email" autocomplete="username" {...form.field("email")} />
      <PasswordField label="Password" autocomplete="current-password" {...form.field("password")} />
      <div class="row spread">
        <SubmitButton form={form}>Log in</SubmitButton>
        <a href={to.forgotPassword()} {...(onLeave && { onClick: onLeave })}>
          Forgot your password?
        </a>
      </div>
      {aside}
    </Form>
  );
}

/** A log-in without a password. */
function OtherWays({ children }: { children: ComponentChildren }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const passkey = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await askingForPasskey(() => session.logInWithPasskey(), "Try again, or log in with your password.");
    } catch (caught) {
      if (!isAbort(caught)) setError(caught);
    } finally {
      setBusy(false);
    }
  };
  if (!passkeysWork() && !children) return null;
  return (
    <div class={css["ways"]}>
      <p class={css["or"]}>or</p>
      {passkeysWork() && (
        <Button icon="key" busy={busy} onClick={() => void passkey()}>
          Log in with a passkey
        </Button>
      )}
      {children}
      {error !== undefined && <ErrorNote error={error} />}
    </div>
  );
}

/** The second step. `onOver`: the log-in has to be begun anew, and why. */
export function SecondFactor({ asked, onOver }: { asked: SecondFactorRequired; onOver: (message: string) => void }) {
  const ended = async (work: Promise<unknown>) => {
    try {
      await work;
    } catch (error) {
      if (!(error instanceof PromptmeshError) || error.reason !== "LINK_INVALID") throw error;
      onOver("That took too long, or there were too many wrong codes. Enter your password once more to begin anew.");
    }
  };
  return (
    <section class="stack" aria-labelledby="second-step">
      <h2 id="second-step" class={css["step"]}>
        One more step
      </h2>
      <p class="soft">Your password is right. A second factor guards this account: prove that you have it.</p>
      <ProofForm
        ways={waysOf(asked.challenge.factors, false)}
        action="Log in"
        prove={(proof) => ended(asked.complete(proof))}
        provePasskey={() => ended(asked.completeWithPasskey())}
      />
      <div class="row">
        <Button size="s" kind="quiet" onClick={() => onOver("")}>
          Back to the password
        </Button>
      </div>
    </section>
  );
}
