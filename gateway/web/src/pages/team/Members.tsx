/* Who belongs to an organisation, with which role; and who is to come. */
import { MemberRole, type Invitation, type Member, type Organisation } from "@promptmesh/client/accounts";
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
import { administers, memberRoleName, rolesToGive } from "./memberRoles";

const PAGE_SIZE = 50;

export function Members({ one, onLeave }: { one: Organisation; onLeave: () => void }) {
  const [inviting, setInviting] = useState(false);
  const [invited, setInvited] = useState<Invitation>();
  const [changing, setChanging] = useState<Member>();
  const [removing, setRemoving] = useState<Member>();
  const list = usePaged(`${user.value?.userId} ${one.orgId}`, async (pageToken, signal) => {
    const answer = await accountsApi.organisations.listMembers({ orgId: one.orgId, pageSize: PAGE_SIZE, pageToken }, { signal });
    return { items: answer.members, nextPageToken: answer.nextPageToken };
  });
  const mayChange = (member: Member) => administers(one.role) && (one.role === MemberRole.OWNER || member.role !== MemberRole.OWNER);
  return (
    <Section
      title="Members"
      actions={
        administers(one.role) && (
          <Button size="s" icon="plus" onClick={() => setInviting(true)}>
            Invite
          </Button>
        )
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
      <List list={list} label="Members" moreLabel="Show more" empty={<p class="soft">Nobody belongs to it.</p>}>
        {(members) => (
          <Rows label="Members">
            {members.map((member) => {
              const me = member.userId === user.value?.userId;
              return (
                <Row
                  key={member.userId}
                  name={
                    <>
                      {member.displayName}
                      {me && <span class="small faint">(you)</span>}
                      <Badge tone={member.role === MemberRole.MEMBER ? "neutral" : "accent"}>{memberRoleName(member.role)}</Badge>
                    </>
                  }
                  about={
                    <>
                      {member.email && `${member.email} · `}joined <Time at={member.createTime} />
                    </>
                  }
                  actions={
                    <>
                      {mayChange(member) && (
                        <Button size="s" onClick={() => setChanging(member)}>
                          Role<span class="visually-hidden"> of {member.displayName}</span>
                        </Button>
                      )}
                      {me ? (
                        <Button size="s" kind="danger" onClick={onLeave}>
                          Leave
                        </Button>
                      ) : (
                        mayChange(member) && (
                          <Button size="s" kind="danger" onClick={() => setRemoving(member)}>
                            Remove<span class="visually-hidden"> {member.displayName}</span>
                          </Button>
                        )
                      )}
                    </>
                  }
                />
              );
            })}
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
          }}
        />
      )}
      {changing && (
        <ChangeRole
          one={one}
          member={changing}
          onClose={() => setChanging(undefined)}
          onChanged={(next) => {
            list.change((members) => members.map((member) => (member.userId === next.userId ? { ...member, role: next.role } : member)));
            setChanging(undefined);
            toast(`${next.displayName} is ${memberRoleName(next.role).toLowerCase()} now.`);
          }}
        />
      )}
      {removing && (
        <Confirm
          title={`Remove ${removing.displayName}?`}
          action="Remove"
          onClose={() => setRemoving(undefined)}
          run={async () => {
            await accountsApi.organisations.removeMember({ orgId: one.orgId, userId: removing.userId });
            list.change((members) => members.filter((member) => member.userId !== removing.userId));
            setRemoving(undefined);
            toast(`${removing.displayName} is removed.`);
          }}
        >
          <p>Their keys that act for the team are revoked, and their sessions act for it no more.</p>
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

interface ChangeRoleProps {
  one: Organisation;
  member: Member;
  onChanged: (next: Member) => void;
  onClose: () => void;
}

function ChangeRole({ one, member, onChanged, onClose }: ChangeRoleProps) {
  const form = useForm({
    initial: { role: String(member.role) },
    submit: async ({ role }) => onChanged(await accountsApi.organisations.setMemberRole({ orgId: one.orgId, userId: member.userId, role: Number(role) })),
  });
  return (
    <Dialog title={`Role of ${member.displayName}`} onClose={onClose}>
      <p class="soft">Owners do everything, deletion included. Admins look after members, service accounts and keys. Members act for the team.</p>
      <Form form={form} label={`Role of ${member.displayName}`}>
        <Select label="Role" options={rolesToGive(one.role)} {...form.field("role")} />
        <div class="row">
          <SubmitButton form={form}>Change the role</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
