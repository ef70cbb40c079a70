/* What the published revision produced: as it is written, and what it took. */
import { ExampleState, type Example, type Post } from "@promptmesh/client";
import { useId } from "preact/hooks";
import { count, counted, dollars } from "../../components/amounts";
import { CopyButton } from "../../components/CopyButton";
import { Card, Note, Progress } from "../../components/Pieces";
import { Prose } from "../../components/Prose";
import { isWriting } from "../../posts/growing";
import css from "./post.module.css";

export function ExampleOf({ post }: { post: Post }) {
  const id = useId();
  const { example } = post;
  const older = post.publishedRevision !== post.revision;
  return (
    <section class="stack" aria-labelledby={id}>
      <h2 id={id}>{older ? `Example of revision ${post.publishedRevision}` : "Example"}</h2>
      {isWriting(post) ? <Writing text={example?.text ?? ""} /> : example && <Finished example={example} />}
    </section>
  );
}

const Writing = ({ text }: { text: string }) => (
  <Card>
    <div class="stack">
      <Progress label={text ? `Being written: ${counted(text.length, "character")} so far` : "A model is asked for an example"} />
      {text && (
        <div aria-busy="true" class={css["writing"]}>
          <Prose text={text} />
        </div>
      )}
    </div>
  </Card>
);

function Finished({ example }: { example: Example }) {
  if (example.state === ExampleState.READY) {
    return (
      <Card>
        <div class="stack">
          <Prose text={example.text} />
          <div class={css["took"]}>
            <Took example={example} />
            <CopyButton text={example.text} label="Copy example" />
          </div>
        </div>
      </Card>
    );
  }
  const withheld = example.state === ExampleState.WITHHELD;
  return (
    <Note tone="warn" title={withheld ? "The example was withheld" : "There is no example"}>
      <p>
        {example.failure || (withheld ? "Moderation withheld what the model wrote." : "No model could write it.")}{" "}
        {withheld ? "Another revision gets another example." : "The prompt itself is published; its next revision gets another try."}
      </p>
      {(example.inputTokens > 0 || example.outputTokens > 0) && <Took example={example} />}
    </Note>
  );
}

/** Model, tokens and cost. */
function Took({ example }: { example: Example }) {
  const about = example.usageEstimated ? "about " : "";
  const cost = example.costNanos;
  return (
    <dl class={css["figures"]}>
      {example.model && (
        <div>
          <dt>Model</dt>
          <dd>{example.model}</dd>
        </div>
      )}
      <div>
        <dt>Tokens</dt>
        <dd class="numbers">
          {about}
          {count(example.inputTokens)} in, {count(example.outputTokens)} out
        </dd>
      </div>
      <div>
        <dt>Cost</dt>
        <dd class="numbers">{cost === undefined ? "unknown: the model has no price" : about + dollars(cost)}</dd>
      </div>
    </dl>
  );
}
