/* The secret of a key that was just made: shown this once, with how to use it. It is nowhere but in this page. */
import { ModelKind, type CreateApiKeyResponse } from "@promptmesh/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { CodeBlock } from "../../components/CodeBlock";
import { useUnsaved } from "../../components/form";
import { Card } from "../../components/Pieces";
import { Tabs } from "../../components/Tabs";
import { guardLeaving } from "../../router/router";
import { api } from "../../state/api";
import { useRead } from "../../state/paged";
import { snippet, variables, type Language } from "./snippets";

const LANGUAGES: { key: Language; label: string }[] = [
  { key: "python", label: "Python" },
  { key: "typescript", label: "TypeScript" },
  { key: "curl", label: "curl" },
];
const MODELS_MAX = 1000;
const LEAVE = "This secret is shown only now. Leave without having stored it?";

export function NewKey({ made, onStored }: { made: CreateApiKeyResponse; onStored: () => void }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useUnsaved(true);
  useEffect(() => {
    heading.current?.focus();
    return guardLeaving(() => confirm(LEAVE));
  }, []);
  const invokes = made.apiKey?.scopes.includes("inference:invoke") ?? false;
  return (
    <Card>
      <section class="stack" aria-labelledby="new-key">
        <h2 id="new-key" ref={heading} tabIndex={-1}>
          Store the secret of “{made.apiKey?.displayName}” now
        </h2>
        <p class="soft">It is shown this once: here it is kept hashed, and nobody can read it again.</p>
        <CodeBlock label="Secret" code={made.secret} />
        {invokes ? <Use secret={made.secret} /> : <p class="soft">Send it with each call, as <code>authorization: Bearer pm_…</code></p>}
        <div class="row">
          <Button kind="primary" onClick={onStored}>
            I have stored it
          </Button>
        </div>
      </section>
    </Card>
  );
}

/** What works when it is pasted: OpenAI's client against this edge. */
function Use({ secret }: { secret: string }) {
  const [language, setLanguage] = useState<Language>("python");
  const model = useRead("models", async (signal) => {
    const { models } = await api.inference.listModels({ pageSize: MODELS_MAX }, { signal });
    const answering = models.filter((one) => one.kind !== ModelKind.EMBEDDING);
    return (answering.find((one) => one.isDefault) ?? answering[0])?.name;
  });
  return (
    <>
      <h3>Use it with OpenAI’s client</h3>
      <CodeBlock label="In your shell" code={variables(location.origin, secret)} />
      <Tabs label="Language" tabs={LANGUAGES} chosen={language} onChoose={setLanguage}>
        <CodeBlock
          label={LANGUAGES.find((one) => one.key === language)!.label}
          code={snippet(language, model.value ?? "name of a model")}
        />
      </Tabs>
    </>
  );
}
