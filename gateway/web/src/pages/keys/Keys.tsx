/* API keys, one's own or a service account's: what there is, a new one whose secret is shown once, rotating and revoking. */
import { type ApiKey, type CreateApiKeyResponse } from "@promptmesh/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { Select } from "../../components/Field";
import { List } from "../../components/List";
import { Page } from "../../components/Page";
import { Badge, EmptyState } from "../../components/Pieces";
import { millis, Time } from "../../components/Time";
import { query, setQuery } from "../../router/router";
import { api } from "../../state/api";
import { organisations } from "../../state/organisations";
import { usePaged } from "../../state/paged";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";
import { MakeKey } from "./MakeKey";
import { NewKey } from "./NewKey";
import { RotateKey } from "./RotateKey";
import { useServiceAccounts } from "./serviceAccounts";
import { scopeLabel } from "./scopes";
import css from "./keys.module.css";

const PAGE_SIZE = 20;

export default function Keys() {
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<CreateApiKeyResponse>();
  const [revoking, setRevoking] = useState<ApiKey>();
  const [rotating, setRotating] = useState<ApiKey>();
  const owners = useServiceAccounts();
  const serviceAccountId = query.value.get("of") ?? "";
  const owner = owners.find((one) => one.id === serviceAccountId);
  const list = usePaged(`${user.value?.userId} ${serviceAccountId}`, async (pageToken, signal) => {
    const { apiKeys, nextPageToken } = await api.auth.listApiKeys({ pageSize: PAGE_SIZE, pageToken, serviceAccountId }, { signal });
    return { items: apiKeys, nextPageToken };
  });
  const take = (answer: CreateApiKeyResponse) => {
    setMaking(false);
    setMade(answer);
    const key = answer.apiKey;
    if (key) list.change((keys) => [key, ...keys]);
  };
  const takeRotated = (answer: CreateApiKeyResponse) => {
    setRotating(undefined);
    setMade(answer);
    const key = answer.apiKey;
    if (key) list.change((keys) => keys.map((one) => (one.apiKeyId === key.apiKeyId ? key : one)));
  };
  const make = (
    <Button kind="primary" icon="plus" onClick={() => setMaking(true)}>
      Make a key
    </Button>
  );
  return (
    <Page
      title="API keys"
      acts
      lead="For programs that act for you, with no more than each needs."
      actions={list.items?.length && !made ? make : undefined}
    >
      {(owners.length > 0 || serviceAccountId) && (
        <Select
          label="Keys of"
          value={serviceAccountId}
          onValue={(of) => {
            setMade(undefined);
            setQuery({ of });
          }}
          options={[
            { value: "", label: "Me" },
            ...(serviceAccountId && !owner ? [{ value: serviceAccountId, label: "This service account" }] : []),
            ...owners.map(({ id, label }) => ({ value: id, label })),
          ]}
        />
      )}
      {made && <NewKey key={made.secret} made={made} onStored={() => setMade(undefined)} />}
      <List
        list={list}
        label="API keys"
        moreLabel="Show older keys"
        empty={
          <EmptyState title="No keys yet" action={make}>
            A program calls the API with a key, OpenAI’s own clients too.
          </EmptyState>
        }
      >
        {(keys) => (
          <ul class={css["keys"]} aria-label="API keys">
            {keys.map((key) => (
              <Row key={key.apiKeyId} apiKey={key} onRotate={() => setRotating(key)} onRevoke={() => setRevoking(key)} />
            ))}
          </ul>
        )}
      </List>
      {making && (
        <MakeKey
          {...(serviceAccountId && { owner: owner ?? { id: serviceAccountId, label: "this service account" } })}
          onMade={take}
          onClose={() => setMaking(false)}
        />
      )}
      {rotating && <RotateKey apiKey={rotating} onMade={takeRotated} onClose={() => setRotating(undefined)} />}
      {revoking && (
        <Confirm
          title="Revoke this key?"
          action="Revoke"
          onClose={() => setRevoking(undefined)}
          run={async () => {
            const revoked = await api.auth.revokeApiKey({ apiKeyId: revoking.apiKeyId });
            list.change((keys) => keys.map((key) => (key.apiKeyId === revoked.apiKeyId ? revoked : key)));
            if (made?.apiKey?.apiKeyId === revoked.apiKeyId) setMade(undefined);
            setRevoking(undefined);
            toast(`“${revoked.displayName}” is revoked.`);
          }}
        >
          <p>
            Programs that use <strong class={css["name"]}>{revoking.displayName}</strong> (<code>{revoking.prefix}…</code>) are
            refused from the next second on. This cannot be taken back.
          </p>
        </Confirm>
      )}
    </Page>
  );
}

function Row({ apiKey: key, onRotate, onRevoke }: { apiKey: ApiKey; onRotate: () => void; onRevoke: () => void }) {
  const expired = key.expireTime !== undefined && millis(key.expireTime) <= Date.now();
  const inForce = !key.revokeTime && !expired;
  const team = organisations.value.find((one) => !one.personal && one.orgId === key.orgId);
  return (
    <li class={css["key"]} data-state={inForce ? "in-force" : "over"}>
      <div class={css["what"]}>
        <div class="row">
          <h2 class={css["name"]}>{key.displayName}</h2>
          <Badge tone={inForce ? "good" : "neutral"}>{key.revokeTime ? "Revoked" : expired ? "Expired" : "In force"}</Badge>
        </div>
        <p>
          <code>{key.prefix}…</code>
        </p>
        <ul class={css["allowed"]} aria-label="May">
          {key.scopes.map((scope) => (
            <li key={scope}>{scopeLabel(scope)}</li>
          ))}
        </ul>
        {team && (
          <p class="small soft">
            Acts for <bdi>{team.displayName}</bdi>
          </p>
        )}
        {key.models.length > 0 && (
          <p class="small soft">
            Only for <Codes of={key.models} />
          </p>
        )}
        {key.allowedNetworks.length > 0 && (
          <p class="small soft">
            Only from <Codes of={key.allowedNetworks} />
          </p>
        )}
        {inForce && key.previousExpireTime && millis(key.previousExpireTime) > Date.now() && (
          <p class="small soft">
            Rotated: the secret before ends <Time at={key.previousExpireTime} />
          </p>
        )}
        <p class="small faint">
          Made <Time at={key.createTime} />
          {key.lastUseTime ? (
            <>
              {" · last used "}
              <Time at={key.lastUseTime} />
            </>
          ) : (
            " · never used"
          )}
          {key.revokeTime ? (
            <>
              {" · revoked "}
              <Time at={key.revokeTime} />
            </>
          ) : key.expireTime ? (
            <>
              {expired ? " · ended " : " · ends "}
              <Time at={key.expireTime} />
            </>
          ) : (
            " · never ends by itself"
          )}
        </p>
      </div>
      {inForce && (
        <div class={css["do"]}>
          <Button size="s" onClick={onRotate}>
            Rotate<span class="visually-hidden"> {key.displayName}</span>
          </Button>
          <Button size="s" kind="danger" onClick={onRevoke}>
            Revoke<span class="visually-hidden"> {key.displayName}</span>
          </Button>
        </div>
      )}
    </li>
  );
}

const Codes = ({ of }: { of: string[] }) => (
  <>
    {of.map((one, index) => (
      <span key={one}>
        {index > 0 && ", "}
        <code>{one}</code>
      </span>
    ))}
  </>
);
