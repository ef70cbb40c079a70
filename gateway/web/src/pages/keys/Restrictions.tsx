/* From where a key may be used, and for which models. Nothing chosen: everything. */
import { Checkbox, TextArea } from "../../components/Field";
import { ErrorNote, Skeleton } from "../../components/Pieces";
import type { FormState } from "../../components/form";
import { api } from "../../state/api";
import { useRead } from "../../state/paged";
import css from "./keys.module.css";

const MODELS_MAX = 1000; // ListModelsRequest.page_size

/** One network a line; commas are taken too. */
export const networksOf = (text: string): string[] => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

type Values = { displayName: string; expiry: string; scopes: string[]; networks: string; models: string[] };

export function Restrictions({ form }: { form: FormState<Values> }) {
  const { models } = form.values;
  return (
    <details class={css["more"]} open={form.errors.networks !== undefined || form.errors.models !== undefined}>
      <summary>Restrict it further</summary>
      <div class="stack">
        <TextArea
          label="Networks"
          optional
          hint="Only from these, one a line: 203.0.113.0/24, 2001:db8::/32. None: from everywhere."
          rows={2}
          spellcheck={false}
          {...form.field("networks")}
        />
        <fieldset class={css["scopes"]}>
          <legend>Models</legend>
          <p class="small soft">Only those that you choose. None: all, those to come too.</p>
          <Models chosen={models} onChosen={(next) => form.set("models", next)} />
          {form.errors.models && (
            <p class={css["error"]} role="alert">
              {form.errors.models}
            </p>
          )}
        </fieldset>
      </div>
    </details>
  );
}

function Models({ chosen, onChosen }: { chosen: string[]; onChosen: (models: string[]) => void }) {
  const list = useRead("models", async (signal) => (await api.inference.listModels({ pageSize: MODELS_MAX }, { signal })).models.map((one) => one.name));
  if (!list.value) {
    return list.error === undefined ? <Skeleton lines={2} label="Loading models" /> : <ErrorNote title="Models could not be read" error={list.error} retry={list.reload} />;
  }
  return (
    <div class={css["models"]} tabIndex={0} role="group" aria-label="Models">
      {list.value.map((name) => (
        <Checkbox
          key={name}
          label={<code>{name}</code>}
          checked={chosen.includes(name)}
          onChecked={(on) => onChosen(on ? [...chosen, name] : chosen.filter((one) => one !== name))}
        />
      ))}
    </div>
  );
}
