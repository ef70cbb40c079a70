/* Proves who one is: by a code of an app, a recovery code, a passkey or the password, whichever one has. */
import { FactorKind, PromptmeshError, type ProofInit } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../components/Button";
import { PasswordField, TextField } from "../components/Field";
import { Form, SubmitButton, useForm } from "../components/form";
import { ErrorNote, Note } from "../components/Pieces";
import { isAbort } from "../components/problems";
import { askingForPasskey, passkeysWork } from "./passkeys";

export type Way = "totp" | "recovery" | "passkey" | "password";

export interface ProofFormProps {
  ways: Way[];
  /** Words of the button. */
  action: string;
  prove: (proof: ProofInit) => Promise<void>;
  provePasskey: () => Promise<void>;
}

const SWITCH: Record<Way, string> = {
  totp: "Use a code of your app",
  recovery: "Use a recovery code",
  passkey: "Use a passkey",
  password: "Use your password",
};
const ELSE = "Try again, or take another way.";

/** What of a person's factors can be used here, the usual one first. */
export function waysOf(factors: FactorKind[], password: boolean): Way[] {
  const ways: Way[] = [];
  if (factors.includes(FactorKind.TOTP)) ways.push("totp");
  if (factors.includes(FactorKind.PASSKEY) && passkeysWork()) ways.push("passkey");
  if (password) ways.push("password");
  if (factors.includes(FactorKind.RECOVERY_CODE)) ways.push("recovery");
  return ways;
}

export function ProofForm({ ways, action, prove, provePasskey }: ProofFormProps) {
  const [chosen, setWay] = useState<Way>();
  const way = chosen ?? ways[0];
  if (!way) {
    return (
      <Note tone="warn" title="Nothing of it works here">
        <p>Your second factor is a passkey, and this browser, or this address, has none. Open the page in a browser that has yours.</p>
      </Note>
    );
  }
  return (
    <div class="stack">
      {way === "passkey" ? (
        <Passkey action={action} prove={provePasskey} />
      ) : (
        <Typed key={way} way={way} action={action} prove={prove} />
      )}
      {ways.length > 1 && (
        <div class="row" role="group" aria-label="Other ways">
          {ways
            .filter((one) => one !== way)
            .map((one) => (
              <Button key={one} size="s" kind="quiet" onClick={() => setWay(one)}>
                {SWITCH[one]}
              </Button>
            ))}
        </div>
      )}
    </div>
  );
}

function Typed({ way, action, prove }: { way: Exclude<Way, "passkey">; action: string; prove: ProofFormProps["prove"] }) {
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => frame.current?.querySelector("input")?.focus(), []);
  const form = useForm({
    initial: { proof: "" },
    check: ({ proof }) => {
      const said = wrong(way, proof);
      return said ? { proof: said } : {};
    },
    submit: async ({ proof }) => {
      try {
        await prove(proofOf(way, proof));
      } catch (error) {
        if (error instanceof PromptmeshError && error.reason === "PROOF_WRONG") form.set("proof", "");
        throw error;
      }
    },
    rename: { totpCode: "proof", recoveryCode: "proof", password: "proof" },
  });
  return (
    <div ref={frame}>
      <Form form={form} label={action}>
        {way === "password" ? (
          <PasswordField label="Password" autocomplete="current-password" {...form.field("proof")} />
        ) : way === "totp" ? (
          <TextField
            label="Code of your app"
            hint="Six digits, which change every half minute."
            inputMode="numeric"
            autocomplete="one-time-code"
            maxLength={7}
            {...form.field("proof")}
          />
        ) : (
          <TextField
            label="Recovery code"
            hint="One of the ten that you wrote down. Each is good once."
            autocomplete="off"
            spellcheck={false}
            maxLength={64}
            {...form.field("proof")}
          />
        )}
        <div class="row">
          <SubmitButton form={form}>{action}</SubmitButton>
        </div>
      </Form>
    </div>
  );
}

function Passkey({ action, prove }: { action: string; prove: () => Promise<void> }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const go = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await askingForPasskey(prove, ELSE);
    } catch (caught) {
      if (!isAbort(caught)) setError(caught);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <p class="soft">Your browser asks for the passkey: by fingerprint, face, PIN or a security key.</p>
      <div class="row">
        <Button kind="primary" icon="key" busy={busy} onClick={() => void go()}>
          {action} with a passkey
        </Button>
      </div>
      {error !== undefined && <ErrorNote error={error} />}
    </>
  );
}

function wrong(way: Way, proof: string): string | undefined {
  if (way === "totp") return /^\d{6}$/.test(digits(proof)) ? undefined : "Enter the six digits that the app shows now.";
  if (proof.trim()) return undefined;
  return way === "password" ? "Enter your password." : "Enter one of your recovery codes.";
}

const digits = (text: string): string => text.replace(/\s/g, "");

function proofOf(way: Way, proof: string): ProofInit {
  if (way === "totp") return { case: "totpCode", value: digits(proof) };
  return way === "recovery" ? { case: "recoveryCode", value: proof.trim() } : { case: "password", value: proof };
}
