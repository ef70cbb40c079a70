/* How the mesh is, for admins: its services, what it offers, and which configuration and policy are in force. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { CodeBlock } from "../../components/CodeBlock";
import { Button } from "../../components/Button";
import { Dialog } from "../../components/Dialog";
import { Page } from "../../components/Page";
import { Badge, Card, ErrorNote, Note, Skeleton } from "../../components/Pieces";
import { Time } from "../../components/Time";
import { api } from "../../state/api";
import { useRead } from "../../state/paged";
import { user } from "../../state/session";
import { useHealth } from "./health";
import { Models, readModels } from "./Models";
import { Author, Versions } from "./Versions";
import css from "./status.module.css";

export default function Status() {
  const models = useRead(user.value?.userId ?? "", readModels);
  return (
    <Page title="Status" width="wide" lead="The mesh as it is now.">
      <Part id="services" title="Services">
        <Services />
      </Part>
      <Part id="configuration" title="Configuration">
        <Versions onChanged={models.reload} />
      </Part>
      <Part id="policy" title="Policy">
        <Policy />
      </Part>
      <Part id="models" title="Models and routes">
        <Models read={models} />
      </Part>
    </Page>
  );
}

const Part = ({ id, title, children }: { id: string; title: string; children: ComponentChildren }) => (
  <Card>
    <section class="stack" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  </Card>
);

/** What each does for people, for who must tell them. */
const DOES: Record<string, string> = {
  auth: "logging in, keys",
  prompts: "posts and the feed",
  moderation: "checking texts",
  inference: "calls of models",
};

function Services() {
  const health = useHealth();
  if (!health) return <Skeleton lines={3} label="Loading the services" />;
  if (!health.services) {
    return (
      <Note tone="bad" title="The edge does not answer">
        <p>Nothing is known about the services. It is asked again by itself.</p>
      </Note>
    );
  }
  const all = Object.entries(health.services);
  const down = all.filter(([, serving]) => !serving).map(([name]) => name);
  return (
    <>
      <p role="status" class="soft">
        {down.length ? `Not serving: ${down.join(", ")}.` : "All services serve."}
      </p>
      <ul class={css["services"]} aria-label="Services">
        {all.map(([name, serving]) => (
          <li key={name}>
            <div>
              <strong>{name}</strong>
              <p class="small faint">{DOES[name]}</p>
            </div>
            <Badge tone={serving ? "good" : "bad"} icon={serving ? "check" : "warning"}>
              {serving ? "Serving" : "Not serving"}
            </Badge>
          </li>
        ))}
      </ul>
    </>
  );
}

function Policy() {
  const [shown, setShown] = useState(false);
  const policy = useRead(user.value?.userId ?? "", (signal) => api.policy.getPolicy({}, { signal }));
  if (!policy.value) {
    if (policy.error !== undefined) {
      return <ErrorNote title="The policy could not be read" error={policy.error} retry={policy.reload} />;
    }
    return <Skeleton lines={2} label="Loading the policy" />;
  }
  const { version, createTime, authorId, yaml } = policy.value;
  return (
    <>
      <div class="row spread">
        <p>
          <strong>Version {String(version)}</strong>{" "}
          <span class="small soft">
            applied <Time at={createTime} /> {authorId ? <Author id={authorId} /> : "with the release"}
          </span>
        </p>
        <Button size="s" onClick={() => setShown(true)}>
          Show<span class="visually-hidden"> the policy</span>
        </Button>
      </div>
      {shown && (
        <Dialog title={`Policy, version ${version}`} onClose={() => setShown(false)}>
          <CodeBlock label="policy.yaml" code={yaml} />
        </Dialog>
      )}
    </>
  );
}
