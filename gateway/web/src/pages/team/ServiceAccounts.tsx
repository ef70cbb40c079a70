/* What an organisation's programs act as: it has keys and no log-in. */
import { newRequestId } from "@promptmesh/client";
import type { Organisation, ServiceAccount } from "@promptmesh/client/accounts";
import { useRef, useState } from "preact/hooks";
import { Button, LinkButton } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Dialog } from "../../components/Dialog";
import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { Time } from "../../components/Time";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { useRead } from "../../state/paged";
import { toast } from "../../state/toasts";

export function ServiceAccounts({ one }: { one: Organisation }) {
  const [making, setMaking] = useState(false);
  const [deleting, setDeleting] = useState<ServiceAccount>();
  const { orgId } = one;
  const list = useRead(orgId, async (signal) => (await accountsApi.organisations.listServiceAccounts({ orgId }, { signal })).serviceAccounts);
  return (
    <Section
      title="Service accounts"
      lead="For programs: they have API keys and no log-in, and stay when the person leaves who made them."
      actions={
        <Button size="s" icon="plus" onClick={() => setMaking(true)}>
          Make one
        </Button>
      }
    >
      {!list.value ? (
        list.error !== undefined ? (
          <ErrorNote title="The service accounts could not be read" error={list.error} retry={list.reload} />
        ) : (
          <Skeleton lines={2} label="Loading service accounts" />
        )
      ) : list.value.length ? (
        <Rows label="Service accounts">
          {list.value.map((account) => (
            <Row
              key={account.serviceAccountId}
              name={account.displayName}
              about={
                <>
                  Made <Time at={account.createTime} />
                </>
              }
              actions={
                <>
                  <LinkButton size="s" href={to.keysOf(account.serviceAccountId)} icon="key">
                    Keys<span class="visually-hidden"> of {account.displayName}</span>
                  </LinkButton>
                  <Button size="s" kind="danger" onClick={() => setDeleting(account)}>
                    Delete<span class="visually-hidden"> {account.displayName}</span>
                  </Button>
                </>
              }
            />
          ))}
        </Rows>
      ) : (
        <p class="soft">None yet.</p>
      )}
      {making && (
        <Make
          orgId={orgId}
          onClose={() => setMaking(false)}
          onMade={(made) => {
            setMaking(false);
            list.reload();
            toast(`“${made.displayName}” is made. Make a key for it next.`);
          }}
        />
      )}
      {deleting && (
        <Confirm
          title="Delete this service account?"
          action="Delete"
          onClose={() => setDeleting(undefined)}
          run={async () => {
            await accountsApi.organisations.deleteServiceAccount({ orgId, serviceAccountId: deleting.serviceAccountId });
            setDeleting(undefined);
            list.reload();
            toast(`“${deleting.displayName}” is deleted.`);
          }}
        >
          <p>
            Keys of <strong>{deleting.displayName}</strong> are revoked: programs that use one are refused within a second.
          </p>
        </Confirm>
      )}
    </Section>
  );
}

function Make({ orgId, onMade, onClose }: { orgId: string; onMade: (made: ServiceAccount) => void; onClose: () => void }) {
  const requestId = useRef(newRequestId());
  const form = useForm({
    initial: { displayName: "" },
    check: ({ displayName }) => (displayName.trim() ? {} : { displayName: "Give it a name, such as what it does." }),
    submit: async ({ displayName }) => onMade(await accountsApi.organisations.createServiceAccount({ orgId, displayName, requestId: requestId.current })),
  });
  return (
    <Dialog title="Make a service account" onClose={onClose}>
      <Form form={form} label="Make a service account">
        <TextField label="Name" hint="What it does: “Nightly reports”." maxLength={64} autocomplete="off" {...form.field("displayName")} />
        <div class="row">
          <SubmitButton form={form}>Make it</SubmitButton>
        </div>
      </Form>
    </Dialog>
  );
}
