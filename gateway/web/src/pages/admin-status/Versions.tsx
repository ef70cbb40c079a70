/* The versions of the configuration: the one in force, those before it, and the way back. */
import { type ConfigVersion } from "@promptmesh/client";
import { useMemo, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { CodeBlock } from "../../components/CodeBlock";
import { classes } from "../../components/classes";
import { Confirm } from "../../components/Confirm";
import { Dialog } from "../../components/Dialog";
import { List } from "../../components/List";
import { Badge, EmptyState } from "../../components/Pieces";
import { Time } from "../../components/Time";
import { to } from "../../router/routes";
import { api } from "../../state/api";
import { usePaged } from "../../state/paged";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";
import { diff } from "./diff";
import css from "./status.module.css";

const PAGE_SIZE = 10;

export function Versions({ onChanged }: { onChanged: () => void }) {
  const [shown, setShown] = useState<ConfigVersion>();
  const [back, setBack] = useState<ConfigVersion>();
  const list = usePaged(user.value?.userId ?? "", async (pageToken, signal) => {
    const { versions, nextPageToken } = await api.config.listConfigVersions({ pageSize: PAGE_SIZE, pageToken }, { signal });
    return { items: versions, nextPageToken };
  });
  const inForce = list.items?.[0];
  return (
    <>
      <List
        list={list}
        label="Versions"
        moreLabel="Show older versions"
        empty={
          <EmptyState title="No configuration yet">
            <code>promptmesh config apply models.yaml</code> makes the first version.
          </EmptyState>
        }
      >
        {(versions) => (
          <ol class={css["versions"]} aria-label="Versions of the configuration">
            {versions.map((one) => (
              <li key={String(one.version)}>
                <div class={css["version"]}>
                  <div class="row">
                    <h3>Version {String(one.version)}</h3>
                    {one === inForce && <Badge tone="good">In force</Badge>}
                  </div>
                  <p class="small soft">
                    Applied <Time at={one.createTime} /> <Author id={one.authorId} />
                    {one.rollbackOf > 0n && <> · repeats version {String(one.rollbackOf)}</>}
                  </p>
                  {one.note && <p class="small">{one.note}</p>}
                </div>
                <div class="row">
                  <Button size="s" onClick={() => setShown(one)}>
                    Show<span class="visually-hidden"> version {String(one.version)}</span>
                  </Button>
                  {one !== inForce && (
                    <Button size="s" onClick={() => setBack(one)}>
                      Go back<span class="visually-hidden"> to version {String(one.version)}</span>
                    </Button>
                  )}
                </div>
              </li>
            ))}
          </ol>
        )}
      </List>
      {shown && (
        <Dialog title={`Version ${shown.version}`} onClose={() => setShown(undefined)}>
          <CodeBlock label="models.yaml" code={shown.yaml} />
        </Dialog>
      )}
      {back && inForce && (
        <Confirm
          title={`Go back to version ${back.version}?`}
          action="Go back"
          onClose={() => setBack(undefined)}
          run={async () => {
            const next = await api.config.rollbackConfig({ version: back.version });
            setBack(undefined);
            toast(`Version ${next.version} is in force; it repeats version ${back.version}.`);
            list.reload();
            onChanged();
          }}
        >
          <p>Its text becomes the next version and holds for all calls at once; calls under way end as they began.</p>
          <Changes before={inForce.yaml} after={back.yaml} />
        </Confirm>
      )}
    </>
  );
}

/** What would change, line by line. */
function Changes({ before, after }: { before: string; after: string }) {
  const lines = useMemo(() => diff(before, after), [before, after]);
  if (!lines) return <p class="soft">The texts are too long to be compared here; look at the version first.</p>;
  if (!lines.length) return <p class="soft">Both texts are the same.</p>;
  return (
    <figure class={css["changes"]}>
      <figcaption class="small faint">What changes</figcaption>
      <pre tabIndex={0} role="region" aria-label="What changes">
        {lines.map((line, index) => (
          <span key={index} class={classes(css["line"], css[line.kind])}>
            {line.kind === "gone" ? "- " : line.kind === "new" ? "+ " : "  "}
            {line.text}
            {"\n"}
          </span>
        ))}
      </pre>
    </figure>
  );
}

/** Who applied it; nobody at the first start, and where a guard went back. */
export function Author({ id }: { id: string }) {
  if (!id) return <>by the mesh itself</>;
  return <>by {id === user.value?.userId ? "you" : <a href={to.person(id)}>this person</a>}</>;
}
