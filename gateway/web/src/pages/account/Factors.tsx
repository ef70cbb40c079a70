/* What one proves beside the password: apps, passkeys, and the codes for when all of them are lost. */
import { createPasskey, FactorKind } from "@promptmesh/client";
import type { CreateFactorResponse, Factor } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Dialog } from "../../components/Dialog";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Badge, ErrorNote, Note, Skeleton } from "../../components/Pieces";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { Time } from "../../components/Time";
import { askingForPasskey, passkeysWork } from "../../getting-in/passkeys";
import { accountsApi } from "../../state/accountsApi";
import { session } from "../../state/api";
import { useRead } from "../../state/paged";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";
import { RecoveryCodes } from "./RecoveryCodes";
import { SetUpApp } from "./SetUpApp";

const FEW_CODES = 3;

const kindName = (kind: FactorKind): string => (kind === FactorKind.PASSKEY ? "Passkey" : "Authenticator app");

export function Factors() {
  const [doing, setDoing] = useState<"app" | "passkey" | "codes">();
  const [deleting, setDeleting] = useState<Factor>();
  const [codes, setCodes] = useState<string[]>();
  const list = useRead(user.value?.userId ?? "", (signal) => accountsApi.factors.listFactors({}, { signal }));
  const close = () => setDoing(undefined);
  const changed = () => {
    list.reload();
    void session.reload().catch(() => undefined);
  };
  const made = ({ factor, recoveryCodes }: CreateFactorResponse) => {
    close();
    changed();
    if (recoveryCodes.length) setCodes(recoveryCodes);
    else toast(`“${factor?.displayName}” is set up. Your other devices are logged out.`);
  };
  const factors = list.value?.factors ?? [];
  return (
    <Section title="Second factor" lead="Besides the password a log-in then asks for something that only you have. Who learns your password cannot get in.">
      {!list.value ? (
        list.error !== undefined ? (
          <ErrorNote title="Your second factors could not be read" error={list.error} retry={list.reload} />
        ) : (
          <Skeleton lines={2} label="Loading second factors" />
        )
      ) : (
        <>
          {factors.length ? (
            <Rows label="Second factors">
              {factors.map((one) => (
                <Row
                  key={one.factorId}
                  name={
                    <>
                      {one.displayName}
                      {one.displayName !== kindName(one.kind) && <Badge>{kindName(one.kind)}</Badge>}
                    </>
                  }
                  about={
                    <>
                      Set up <Time at={one.createTime} />
                      {one.lastUseTime ? (
                        <>
                          {" · used "}
                          <Time at={one.lastUseTime} />
                        </>
                      ) : (
                        " · not used yet"
                      )}
                    </>
                  }
                  actions={
                    <Button size="s" kind="danger" onClick={() => setDeleting(one)}>
                      Delete<span class="visually-hidden"> {one.displayName}</span>
                    </Button>
                  }
                />
              ))}
              <Row
                name="Recovery codes"
                about={`${list.value.recoveryCodesLeft} of 10 left, each good once. For when your app or passkey is lost.`}
                actions={
                  <Button size="s" onClick={() => setDoing("codes")}>
                    New codes
                  </Button>
                }
              />
            </Rows>
          ) : (
            <p>
              <Badge tone="warn">Off</Badge> Only the password guards your account.
            </p>
          )}
          {factors.length > 0 && list.value.recoveryCodesLeft < FEW_CODES && (
            <Note tone="warn">Few recovery codes are left. Make new ones before you need them.</Note>
          )}
          <div class="row">
            <Button icon="plus" onClick={() => setDoing("app")}>
              Set up an app
            </Button>
            {passkeysWork() && (
              <Button icon="plus" onClick={() => setDoing("passkey")}>
                Add a passkey
              </Button>
            )}
          </div>
        </>
      )}
      {doing === "app" && <SetUpApp onMade={made} onClose={close} />}
      {doing === "passkey" && <AddPasskey onMade={made} onClose={close} />}
      {doing === "codes" && (
        <Confirm
          title="Make new recovery codes?"
          action="Make new codes"
          kind="primary"
          onClose={close}
          run={async () => {
            const { recoveryCodes } = await accountsApi.factors.createRecoveryCodes({});
            close();
            setCodes(recoveryCodes);
            list.reload();
          }}
        >
          <p>Those that you have are good no more. The new ones are shown once.</p>
        </Confirm>
      )}
      {deleting && (
        <Confirm
          title="Delete this second factor?"
          action="Delete"
          onClose={() => setDeleting(undefined)}
          run={async () => {
            await accountsApi.factors.deleteFactor({ factorId: deleting.factorId });
            setDeleting(undefined);
            changed();
            toast(`“${deleting.displayName}” is deleted.`);
          }}
        >
          <p>
            <strong>{deleting.displayName}</strong> proves nothing from now on.{" "}
            {factors.length === 1 && "It is the last one: your password alone guards the account then, and the recovery codes are gone too."}
          </p>
        </Confirm>
      )}
      {codes && <RecoveryCodes codes={codes} onStored={() => setCodes(undefined)} />}
    </Section>
  );
}

function AddPasskey({ onMade, onClose }: { onMade: (made: CreateFactorResponse) => void; onClose: () => void }) {
  const form = useForm({
    initial: { displayName: "" },
    submit: async ({ displayName }) => {
      const { options, setupToken } = await accountsApi.factors.beginPasskey({});
      const credential = await askingForPasskey(() => createPasskey(options), "Try again, or set up an app instead.");
      onMade(await accountsApi.factors.createPasskey({ setupToken, credential, displayName }));
    },
  });
  return (
    <Dialog title="Add a passkey" onClose={onClose}>
      <p class="soft">
        Your browser makes it and keeps it: on this device, on your phone or on a security key. With a passkey you also log in without
        password.
      </p>
      <Form form={form} label="Add a passkey">
        <TextField label="Name" optional hint="So that you know which one it is: “Laptop”, “Blue key”." maxLength={64} autocomplete="off" {...form.field("displayName")} />
        <div class="row">
          <SubmitButton form={form}>Continue in the browser</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
