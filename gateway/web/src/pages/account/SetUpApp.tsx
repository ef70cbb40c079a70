/* An authenticator app: its secret as a picture and as text, then the first code. */
import type { BeginTotpResponse, CreateFactorResponse } from "@promptmesh/client/accounts";
import { CopyButton } from "../../components/CopyButton";
import { Dialog } from "../../components/Dialog";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import { accountsApi } from "../../state/accountsApi";
import { useRead } from "../../state/paged";
import { QrCode } from "./QrCode";
import css from "./account.module.css";

interface Props {
  onMade: (made: CreateFactorResponse) => void;
  onClose: () => void;
}

export function SetUpApp({ onMade, onClose }: Props) {
  const begun = useRead("totp", (signal) => accountsApi.factors.beginTotp({}, { signal }));
  return (
    <Dialog title="Set up an authenticator app" onClose={onClose}>
      {begun.value ? (
        <Steps begun={begun.value} onMade={onMade} />
      ) : begun.error !== undefined ? (
        <ErrorNote title="The set-up could not begin" error={begun.error} retry={begun.reload} />
      ) : (
        <Skeleton lines={5} label="Making the secret" />
      )}
    </Dialog>
  );
}

function Steps({ begun, onMade }: { begun: BeginTotpResponse; onMade: Props["onMade"] }) {
  const form = useForm({
    initial: { code: "", displayName: "" },
    check: ({ code }) => (/^\d{6}$/.test(code.replace(/\s/g, "")) ? {} : { code: "Enter the six digits that the app shows now." }),
    submit: async ({ code, displayName }) =>
      onMade(await accountsApi.factors.createTotp({ setupToken: begun.setupToken, code: code.replace(/\s/g, ""), displayName })),
  });
  return (
    <>
      <p>Scan this with an app such as Aegis, Google Authenticator or your password manager.</p>
      <QrCode text={begun.otpauthUri} label="QR code with the secret for your app" />
      <div class={css["secret"]}>
        <p class="small soft">Cannot scan it? Type this secret into the app:</p>
        <div class="row">
          <code data-secret>{begun.secret.replace(/(.{4})(?=.)/g, "$1 ")}</code>
          <CopyButton text={begun.secret} label="Copy the secret" />
        </div>
      </div>
      <Form form={form} label="Set up an authenticator app">
        <TextField
          label="Code that the app shows"
          hint="Six digits, which change every half minute."
          inputMode="numeric"
          autocomplete="one-time-code"
          maxLength={7}
          {...form.field("code")}
        />
        <TextField label="Name" optional hint="So that you know which one it is: “Phone”." maxLength={64} autocomplete="off" {...form.field("displayName")} />
        <div class="row">
          <SubmitButton form={form}>Turn it on</SubmitButton>
        </div>
      </Form>
    </>
  );
}
