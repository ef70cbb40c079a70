/* One organisation: its name, members, service accounts, and its end. */
import { MemberRole, type Organisation as Team } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Dialog } from "../../components/Dialog";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { setQuery } from "../../router/router";
import { accountsApi } from "../../state/accountsApi";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";
import { Members } from "./Members";
import { administers } from "./memberRoles";
import { ServiceAccounts } from "./ServiceAccounts";

export function Organisation({ one, onChanged }: { one: Team; onChanged: () => void }) {
  const [leaving, setLeaving] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const gone = (said: string) => {
    toast(said);
    setQuery({ org: undefined });
    onChanged();
  };
  return (
    <>
      {administers(one.role) && !one.personal && <Rename one={one} onChanged={onChanged} />}
      {!one.personal && <Members one={one} onLeave={() => setLeaving(true)} />}
      {administers(one.role) && <ServiceAccounts one={one} />}
      {!one.personal && one.role === MemberRole.OWNER && (
        <Section title="Deletion">
          <Rows label="Deletion">
            <Row
              name="Delete the team"
              about="Its keys, service accounts and posts go with it, and who acts for it is logged out. It cannot be taken back."
              actions={
                <Button size="s" kind="danger" onClick={() => setDeleting(true)}>
                  Delete the team
                </Button>
              }
            />
          </Rows>
        </Section>
      )}
      {leaving && (
        <Confirm
          title={`Leave ${one.displayName}?`}
          action="Leave"
          onClose={() => setLeaving(false)}
          run={async () => {
            await accountsApi.organisations.removeMember({ orgId: one.orgId, userId: user.value?.userId ?? "" });
            gone(`You left ${one.displayName}.`);
          }}
        >
          <p>
            Your keys that act for it are revoked. If you act for it now, or did a moment ago, your session ends, too, and you log in again.
            To come back you need an invitation.
          </p>
        </Confirm>
      )}
      {deleting && (
        <Delete one={one} onDeleted={() => gone(`${one.displayName} is deleted.`)} onClose={() => setDeleting(false)} />
      )}
    </>
  );
}

function Rename({ one, onChanged }: { one: Team; onChanged: () => void }) {
  const form = useForm({
    initial: { displayName: one.displayName },
    check: ({ displayName }) => (displayName.trim() ? {} : { displayName: "Give the team a name." }),
    submit: async ({ displayName }) => {
      await accountsApi.organisations.updateOrganisation({ orgId: one.orgId, displayName });
      toast("The name is changed.");
      onChanged();
    },
  });
  return (
    <Section title="Name">
      <Form form={form} label="Name">
        <TextField label="Name" maxLength={64} autocomplete="off" {...form.field("displayName")} />
        <div class="row">
          <SubmitButton form={form} kind="plain">
            Change the name
          </SubmitButton>
        </div>
      </Form>
    </Section>
  );
}

interface DeleteProps {
  one: Team;
  onDeleted: () => void;
  onClose: () => void;
}

function Delete({ one, onDeleted, onClose }: DeleteProps) {
  const form = useForm({
    initial: { typed: "" },
    check: ({ typed }) => (typed.trim() === one.displayName.trim() ? {} : { typed: `Type ${one.displayName} to confirm.` }),
    submit: async () => {
      await accountsApi.organisations.deleteOrganisation({ orgId: one.orgId });
      onDeleted();
    },
  });
  return (
    <Dialog title="Delete the team?" onClose={onClose}>
      <p>
        Every key of it is refused within a second, and its service accounts and posts are erased. Members stay registered and act for
        themselves again. Whoever acts for it now, or did a moment ago, you too, is logged out and logs in again.{" "}
        <strong>This cannot be taken back.</strong>
      </p>
      <Form form={form} label="Delete the team?">
        <TextField label={`To confirm, type its name: ${one.displayName}`} autocomplete="off" {...form.field("typed")} />
        <div class="row">
          <SubmitButton form={form} kind="danger">
            Delete the team for ever
          </SubmitButton>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </Form>
    </Dialog>
  );
}
