/* Who is to come: the invitations under way, for those who may send and revoke them. */
import { MemberRole, type Invitation, type Organisation } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Dialog } from "../../components/Dialog";
import { Select, TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { List } from "../../components/List";
import { Badge, Note } from "../../components/Pieces";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { Time } from "../../components/Time";
import { accountsApi } from "../../state/accountsApi";
import { usePaged } from "../../state/paged";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";
import { memberRoleName, rolesToGive } from "./memberRoles";

const PAGE_SIZE = 50;

export function Invitations({ one }: { one: Organisation }) {
  const [inviting, setInviting] = useState(false);
  const [invited, setInvited] = useState<Invitation>();
  const [revoking, setRevoking] = useState<Invitation>();
  const list = usePaged(`${user.value?.userId} ${one.orgId}`, async (pageToken, signal) => {
    const answer = await accountsApi.organisations.listInvitations({ orgId: one.orgId, pageSize: PAGE_SIZE, pageToken }, { signal });
    return { items: answer.invitations, nextPageToken: answer.nextPageToken };
  });
  return (
    <Section
      title="Invitations"
      actions={
        <Button size="s" icon="plus" onClick={() => setInviting(true)}>
          Invite
        </Button>
      }
    >
      {invited && (
        <div role="status">
          <Note tone="good" title={`An invitation is on its way to ${invited.email}`}>
            <p>
              It is for the account with that confirmed address, and ends <Time at={invited.expireTime} />.
            </p>
          </Note>
        </div>
      )}
      <List list={list} label="Invitations" moreLabel="Show more" empty={<p class="soft">No invitation is under way.</p>}>
        {(invitations) => (
          <Rows label="Invitations">
            {invitations.map((invitation) => (
              <Row
                key={invitation.invitationId}
                name={
                  <>
                    {invitation.email}
                    <Badge tone={invitation.role === MemberRole.MEMBER ? "neutral" : "accent"}>{memberRoleName(invitation.role)}</Badge>
                  </>
                }
                about={
                  <>
                    sent <Time at={invitation.createTime} /> · ends <Time at={invitation.expireTime} />
                  </>
                }
                actions={
                  (one.role === MemberRole.OWNER || invitation.role !== MemberRole.OWNER) && (
                    <Button size="s" kind="danger" onClick={() => setRevoking(invitation)}>
                      Revoke<span class="visually-hidden"> the invitation of {invitation.email}</span>
                    </Button>
                  )
                }
              />
            ))}
          </Rows>
        )}
      </List>
      {inviting && (
        <Invite
          one={one}
          onClose={() => setInviting(false)}
          onInvited={(invitation) => {
            setInvited(invitation);
            setInviting(false);
            list.reload(); // an earlier one to the same address has ended
          }}
        />
      )}
      {revoking && (
        <Confirm
          title={`Revoke the invitation of ${revoking.email}?`}
          action="Revoke"
          onClose={() => setRevoking(undefined)}
          run={async () => {
            await accountsApi.organisations.revokeInvitation({ orgId: one.orgId, invitationId: revoking.invitationId });
            list.change((invitations) => invitations.filter((invitation) => invitation.invitationId !== revoking.invitationId));
            setInvited(undefined);
            setRevoking(undefined);
            toast(`The invitation of ${revoking.email} is revoked.`);
          }}
        >
          <p>The link that was mailed is good no more. You can invite them again.</p>
        </Confirm>
      )}
    </Section>
  );
}

function Invite({ one, onInvited, onClose }: { one: Organisation; onInvited: (invitation: Invitation) => void; onClose: () => void }) {
  const form = useForm({
    initial: { email: "", role: String(MemberRole.MEMBER) },
    check: ({ email }) => (/^\S+@\S+$/.test(email) ? {} : { email: "Enter an e-mail address, such as ada@example.com." }),
    submit: async ({ email, role }) => onInvited(await accountsApi.organisations.inviteMember({ orgId: one.orgId, email, role: Number(role) })),
  });
  return (
    <Dialog title="Invite somebody" onClose={onClose}>
      <Form form={form} label="Invite somebody">
        <TextField label="E-mail" hint="A link goes there; it is good for seven days." type="email" autocomplete="off" {...form.field("email")} />
        <Select label="Role" options={rolesToGive(one.role)} {...form.field("role")} />
        <div class="row">
          <SubmitButton form={form}>Send the invitation</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
