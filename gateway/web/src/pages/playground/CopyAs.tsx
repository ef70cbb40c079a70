/* The call that was just made, or would be made, in other languages. */
import { useState } from "preact/hooks";
import { CodeBlock } from "../../components/CodeBlock";
import { Tabs } from "../../components/Tabs";
import { to } from "../../router/routes";
import { snippets, type Snippet } from "./copy";
import { asked, conversation, lastAsked } from "./store";
import css from "./playground.module.css";

export function CopyAs() {
  const [chosen, choose] = useState<Snippet["key"]>("curl");
  const made = lastAsked();
  const call = made ?? asked();
  if (!conversation.value.model || !call.messages.length) return null;
  const all = snippets(call, location.origin);
  const shown = all.find(({ key }) => key === chosen)!;
  return (
    <section class={css["copy"]} aria-labelledby="copy-as">
      <h2 id="copy-as">Copy as</h2>
      <p class="soft small">
        {made ? "Exactly the call that was made last." : "The call as it would be made now."} It reads your key from{" "}
        <code>PROMPTMESH_API_KEY</code>; <a href={to.keys()}>make one</a>.
      </p>
      <Tabs label="Language" tabs={all} chosen={chosen} onChoose={choose}>
        <CodeBlock code={shown.code} label={shown.label} />
      </Tabs>
    </section>
  );
}
