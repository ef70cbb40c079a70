/* Who belongs to an organisation, with which role. */
import { MemberRole, type Member, type Organisation } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Dialog } from "../../components/Dialog";
import { Select } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { List } from "../../components/List";
import { Badge } from "../../components/Pieces";
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
  const [changing, setChanging] = useState<Member>();
  const [removing, setRemoving] = useState<Member>();
  const list = usePaged(`${user.value?.userId} ${one.orgId}`, async (pageToken, signal) => {
    const answer = await accountsApi.organisations.listMembers({ orgId: one.orgId, pageSize: PAGE_SIZE, pageToken }, { signal });
    return { items: answer.members, nextPageToken: answer.nextPageToken };
  });
  const mayChange = (member: Member) => administers(one.role) && (one.role === MemberRole.OWNER || member.role !== MemberRole.OWNER);
  return (
    <Section title="Members">
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
