/* Which model, what stands above the conversation, and how words are chosen. */
import type { Model } from "@promptmesh/client";
import { useId } from "preact/hooks";
import { count } from "../../components/amounts";
import { Select, TextArea, TextField } from "../../components/Field";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import { perMillion } from "./format";
import { NO_PARAMETERS } from "./request";
import { change, conversation, models, modelsError, parameterErrors, readModels, setParameter } from "./store";
import css from "./playground.module.css";

const WIDE = "(min-width: 60rem)";

export function Settings() {
  const { system, parameters } = conversation.value;
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
        rows={2}
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
            <TextField label="Max tokens" inputMode="numeric" {...parameter("maxOutputTokens")} />
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
    return [`Route to ${names}`, strategy && `Strategy: ${strategy}`].filter(Boolean);
  }
  return [
    priceWords(price),
    [
      contextTokens ? `${count(contextTokens)} tokens of context` : "Context unknown",
      maxOutputTokens ? `answers up to ${count(maxOutputTokens)}` : "",
    ]
      .filter(Boolean)
      .join(", "),
    provider && `Provider: ${provider}`,
  ].filter(Boolean);
}

function priceWords(price: Model["price"]): string {
  if (!price) return "Price unknown";
  const { inputTokenNanos, outputTokenNanos } = price;
  if (!inputTokenNanos && !outputTokenNanos) return "Free";
  return `${perMillion(inputTokenNanos)} in, ${perMillion(outputTokenNanos)} out per million tokens`;
}
