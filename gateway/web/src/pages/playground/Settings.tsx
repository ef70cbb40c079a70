/* Which model, what stands above the conversation, and how words are chosen. */
import type { Model } from "@promptmesh/client";
import { useId } from "preact/hooks";
import { Checkbox, Select, TextArea, TextField } from "../../components/Field";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import { count, perMillion } from "./format";
import { NO_PARAMETERS } from "./request";
import { change, conversation, models, modelsError, parameterErrors, readModels, setParameter } from "./store";
import css from "./playground.module.css";

const WIDE = "(min-width: 60rem)";

export function Settings() {
  const { system, markdown, parameters } = conversation.value;
  const errors = parameterErrors.value;
  const parameter = (key: keyof typeof NO_PARAMETERS) => ({
    value: parameters[key],
    error: errors[key],
    onValue: (value: string) => setParameter(key, value),
    autocomplete: "off",
  });
  const set = Object.values(parameters).filter(Boolean).length;
  return (
    <aside class={css["settings"]} aria-label="Settings">
      <ModelPicker />
      <TextArea
        label="System prompt"
        optional
        rows={3}
        value={system}
        onValue={(value) => change({ system: value })}
      />
      <details class={css["parameters"]} open={matchMedia(WIDE).matches}>
        <summary>Parameters{set > 0 && <span class="faint"> · {set} set</span>}</summary>
        <div class="stack">
          <p class="faint small">What is empty is left to the model and is not sent.</p>
          <div class={css["pair"]}>
            <TextField label="Temperature" inputMode="decimal" placeholder="0 to 2" {...parameter("temperature")} />
            <TextField label="Top p" inputMode="decimal" placeholder="0 to 1" {...parameter("topP")} />
          </div>
          <div class={css["pair"]}>
            <TextField label="Max output tokens" inputMode="numeric" {...parameter("maxOutputTokens")} />
            <TextField label="Seed" inputMode="numeric" {...parameter("seed")} />
          </div>
          <TextArea
            label="Stop at"
            rows={2}
            hint="Up to 4 texts, one a line; \n stands for a new line."
            {...parameter("stop")}
          />
        </div>
      </details>
      <Checkbox
        label="Show answers as Markdown"
        checked={markdown}
        onChecked={(checked) => change({ markdown: checked })}
      />
    </aside>
  );
}

function ModelPicker() {
  const id = useId();
  const all = models.value;
  if (modelsError.value !== undefined) {
    const retry = () => void readModels(new AbortController().signal);
    return <ErrorNote title="The models could not be read" error={modelsError.value} retry={retry} />;
  }
  if (!all) return <Skeleton lines={2} label="Loading models" />;
  if (!all.length) return <p class="soft">No model is on offer. An admin can configure one.</p>;
  const chosen = all.find((one) => one.name === conversation.value.model);
  return (
    <div class={css["picker"]}>
      <Select
        label="Model"
        options={all.map((one) => ({ value: one.name, label: one.isDefault ? `${one.name} (default)` : one.name }))}
        value={conversation.value.model}
        onValue={(model) => change({ model })}
      />
      {chosen && (
        <p id={id} class={css["facts"]} role="status">
          {facts(chosen).map((fact) => (
            <span key={fact}>{fact}</span>
          ))}
        </p>
      )}
    </div>
  );
}

function facts({ price, contextTokens, maxOutputTokens, provider, targets, strategy }: Model): string[] {
  if (targets.length) {
    const names = targets.map(({ model, weight }) => (weight ? `${model} (${weight})` : model)).join(", ");
    return [`Route to ${names}`, strategy ? `chosen by ${strategy}` : ""].filter(Boolean);
  }
  return [
    price
      ? `${perMillion(price.inputTokenNanos)} in, ${perMillion(price.outputTokenNanos)} out per million tokens`
      : "Price unknown",
    contextTokens ? `${count(contextTokens)} tokens of context` : "Context unknown",
    maxOutputTokens ? `answers up to ${count(maxOutputTokens)}` : "",
    provider && `from ${provider}`,
  ].filter(Boolean);
}
