/* Organisations: those that one belongs to, and one of them with its members and service accounts (`?org=`). */
import { newRequestId } from "@promptmesh/client";
import type { Organisation } from "@promptmesh/client/accounts";
import { useRef, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Dialog } from "../../components/Dialog";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Page } from "../../components/Page";
import { Badge, ErrorNote, Skeleton } from "../../components/Pieces";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { query, setQuery } from "../../router/router";
import { accountsApi } from "../../state/accountsApi";
import { actFor, organisations } from "../../state/organisations";
import { useRead } from "../../state/paged";
import { actingFor, user } from "../../state/session";
import { toast } from "../../state/toasts";
import { memberRoleName } from "./memberRoles";
import { Organisation as Opened } from "./Organisation";

export default function Team() {
  const [making, setMaking] = useState(false);
  const list = useRead(user.value?.userId ?? "", async (signal) => {
    const found = (await accountsApi.organisations.listOrganisations({}, { signal })).organisations;
    organisations.value = found;
    return found;
  });
  const open = list.value?.find((one) => one.orgId === query.value.get("org"));
  const title = open ? open.displayName : "Teams";
  return (
    <Page
      title={title}
      lead={open ? undefined : "Who belongs to a team acts for it: posts, keys and usage are then the team’s, and so are its limits."}
      actions={
        open ? (
          <Button onClick={() => setQuery({ org: undefined })}>All teams</Button>
        ) : (
          <Button kind="primary" icon="plus" onClick={() => setMaking(true)}>
            Make a team
          </Button>
        )
      }
    >
      {list.value && list.error !== undefined && <ErrorNote title="This may be out of date" error={list.error} retry={list.reload} />}
      {!list.value ? (
        list.error !== undefined ? (
          <ErrorNote title="Your teams could not be read" error={list.error} retry={list.reload} />
        ) : (
          <Skeleton lines={4} label="Loading teams" />
        )
      ) : open ? (
        <Opened key={open.orgId} one={open} onChanged={list.reload} />
      ) : (
        <Section title="Yours">
          <Rows label="Teams">
            {list.value.map((one) => (
              <One key={one.orgId} one={one} />
            ))}
          </Rows>
        </Section>
      )}
      {making && (
        <Make
          onClose={() => setMaking(false)}
          onMade={(made) => {
            setMaking(false);
            list.reload();
            setQuery({ org: made.orgId });
            toast(`“${made.displayName}” is made. You own it.`);
          }}
        />
      )}
    </Page>
  );
}

function One({ one }: { one: Organisation }) {
  const acting = one.orgId === actingFor.value;
  return (
    <Row
      name={
        <>
          {one.displayName}
          {one.personal ? <Badge>Your own</Badge> : <Badge tone="accent">{memberRoleName(one.role)}</Badge>}
          {acting && <Badge tone="good">You act for it</Badge>}
        </>
      }
      about={one.personal ? "Has no other member." : one.plan ? `Plan ${one.plan}` : undefined}
      actions={
        <>
          {!acting && (
            <Button size="s" onClick={() => void actFor(one)}>
              Act for it<span class="visually-hidden">: {one.displayName}</span>
            </Button>
          )}
          <Button size="s" onClick={() => setQuery({ org: one.orgId })}>
            Open<span class="visually-hidden"> {one.displayName}</span>
          </Button>
        </>
      }
    />
  );
}

function Make({ onMade, onClose }: { onMade: (made: Organisation) => void; onClose: () => void }) {
  // The same for a second press, so that no second team is made.
  const requestId = useRef(newRequestId());
  const form = useForm({
    initial: { displayName: "" },
    check: ({ displayName }) => (displayName.trim() ? {} : { displayName: "Give the team a name." }),
    submit: async ({ displayName }) => onMade(await accountsApi.organisations.createOrganisation({ displayName, requestId: requestId.current })),
  });
  return (
    <Dialog title="Make a team" onClose={onClose}>
      <Form form={form} label="Make a team">
        <TextField label="Name" maxLength={64} autocomplete="organization" {...form.field("displayName")} />
        <div class="row">
          <SubmitButton form={form}>Make the team</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
