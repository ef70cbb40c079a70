/* Log-ins by other providers, where the operator has configured some. */
import type { LinkedIdentity } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { ErrorNote } from "../../components/Pieces";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { Time } from "../../components/Time";
import { Providers, useProviders } from "../../getting-in/Providers";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { useRead } from "../../state/paged";
import { user } from "../../state/session";

export function Identities() {
  const providers = useProviders();
  return providers.length ? <Linked providers={providers} /> : null;
}

function Linked({ providers }: { providers: ReturnType<typeof useProviders> }) {
  const [ending, setEnding] = useState<LinkedIdentity>();
  const list = useRead(user.value?.userId ?? "", async (signal) => (await accountsApi.federation.listIdentities({}, { signal })).identities);
  const nameOf = (provider: string) => providers.find((one) => one.provider === provider)?.displayName || provider;
  return (
    <Section title="Log-in by other providers">
      {list.error !== undefined && <ErrorNote title="They could not be read" error={list.error} retry={list.reload} />}
      {list.value && list.value.length > 0 && (
        <Rows label="Linked providers">
          {list.value.map((one) => (
            <Row
              key={one.identityId}
              name={nameOf(one.provider)}
              about={
                <>
                  {one.email} · linked <Time at={one.createTime} />
                </>
              }
              actions={
                <Button size="s" kind="danger" onClick={() => setEnding(one)}>
                  Unlink<span class="visually-hidden"> {nameOf(one.provider)}</span>
                </Button>
              }
            />
          ))}
        </Rows>
      )}
      <div class="row">
        <Providers providers={providers} then={to.account()} verb="Link" />
      </div>
      {ending && (
        <Confirm
          title="Unlink it?"
          action="Unlink"
          onClose={() => setEnding(undefined)}
          run={async () => {
            await accountsApi.federation.unlinkIdentity({ identityId: ending.identityId });
            setEnding(undefined);
            list.reload();
          }}
        >
          <p>You cannot log in with {nameOf(ending.provider)} any more.</p>
        </Confirm>
      )}
    </Section>
  );
}
