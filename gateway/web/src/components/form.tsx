/* Forms: values, what is wrong with each, a draft that outlives a reload, and one submit at a time.

   const form = useForm({ name: "write", initial: { title: "", body: "" }, submit: async (values) => { … } });
   <Form form={form}>
     <TextField label="Title" {...form.field("title")} />
     <SubmitButton form={form}>Publish</SubmitButton>
   </Form>
*/
import { PromptmeshError } from "@promptmesh/client";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../state/session";
import { dropDraft, keepDraft, readDraft } from "../state/drafts";
import { Button } from "./Button";
import { ErrorNote } from "./Pieces";
import { isAbort } from "./problems";

type Values = Record<string, string | boolean | string[]>;
export type Errors<V> = Partial<Record<keyof V, string>>;

export interface FormOptions<V extends Values> {
  /** Names the draft: one for each thing that is edited, such as `edit-<post id>`. Without it nothing is kept. */
  name?: string;
  initial: V;
  /** Never kept: passwords. */
  secret?: (keyof V)[];
  /** What can be said before asking the server; the server's answer counts. */
  check?: (values: V) => Errors<V>;
  /** Field of the request to field of the form, where they differ once `post.display_name` is `displayName`. */
  rename?: Record<string, keyof V>;
  /** Repeated by itself after a session that ended has been renewed. The draft is dropped when it has succeeded. */
  submit: (values: V) => Promise<void>;
}

export interface FormState<V extends Values> {
  values: V;
  set: <K extends keyof V>(key: K, value: V[K]) => void;
  errors: Errors<V>;
  /** What is wrong with no field in particular. */
  problem: unknown;
  busy: boolean;
  /** Differs from what it began with. */
  changed: boolean;
  /** Whether it began with a draft, and how to be rid of that. */
  restored: boolean;
  reset: () => void;
  submit: () => Promise<void>;
  /** Props of a text field. */
  field: (key: keyof V & string) => { name: string; value: string; onValue: (value: string) => void; error: string | undefined };
}

export function useForm<V extends Values>(options: FormOptions<V>): FormState<V> {
  const { name, initial, secret = [], check, rename = {}, submit } = options;
  const first = useRef(initial);
  const draft = useRef(name === undefined ? undefined : readDraft<Partial<V>>(name));
  const [values, setValues] = useState<V>({ ...initial, ...draft.current });
  const [errors, setErrors] = useState<Errors<V>>({});
  const [problem, setProblem] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const running = useRef(false);
  const current = useRef(values);
  current.current = values;

  const changed = JSON.stringify(values) !== JSON.stringify(first.current);

  const set: FormState<V>["set"] = (key, value) => {
    const next = { ...current.current, [key]: value };
    current.current = next;
    setValues(next);
    setErrors((was) => ({ ...was, [key]: undefined }));
    if (name !== undefined) {
      const kept = { ...next };
      for (const one of secret) delete kept[one];
      keepDraft(name, kept);
    }
  };

  const fail = (found: Errors<V>) => {
    setErrors(found);
    // The first field that is wrong, once it is marked.
    requestAnimationFrame(() => document.querySelector<HTMLElement>("form [aria-invalid]")?.focus());
  };

  return {
    values,
    set,
    errors,
    problem,
    busy,
    changed,
    restored: draft.current !== undefined && changed,
    reset: () => {
      if (name !== undefined) dropDraft(name);
      draft.current = undefined;
      setValues(first.current);
      setErrors({});
      setProblem(undefined);
    },
    submit: async () => {
      if (running.current) return;
      const sent = current.current;
      const found = check?.(sent) ?? {};
      if (Object.values(found).some(Boolean)) return fail(found);
      running.current = true;
      setBusy(true);
      setProblem(undefined);
      setErrors({});
      try {
        await call(() => submit(sent));
        if (name !== undefined) dropDraft(name);
      } catch (error) {
        if (isAbort(error)) return;
        const { errors: placed, rest } = place(error, sent, rename);
        fail(placed);
        setProblem(rest);
      } finally {
        running.current = false;
        setBusy(false);
      }
    },
    field: (key) => ({
      name: key,
      value: String(current.current[key] ?? ""),
      onValue: (value) => set(key, value as V[typeof key]),
      error: errors[key],
    }),
  };
}

/** The error's violations by field of the form; `rest` is the error if something of it belongs to none. */
function place<V extends Values>(error: unknown, values: V, rename: Record<string, keyof V>): { errors: Errors<V>; rest: unknown } {
  const errors: Errors<V> = {};
  if (!(error instanceof PromptmeshError) || !error.violations.length) return { errors, rest: error };
  let all = true;
  for (const violation of error.violations) {
    const plain = (violation.field.split(".").at(-1) ?? "").replace(/\[.*$/, "");
    const camel = plain.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    const key = rename[plain] ?? rename[camel] ?? camel;
    if (key in values) errors[key] ??= capital(violation.description);
    else all = false;
  }
  return { errors, rest: all ? undefined : error };
}

const capital = (text: string): string => {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
};

export function Form<V extends Values>({ form, children, label }: { form: FormState<V>; children: ComponentChildren; label?: string }) {
  return (
    <form
      noValidate
      class="stack form"
      aria-label={label}
      onSubmit={(event) => {
        event.preventDefault();
        void form.submit();
      }}
    >
      {children}
      {form.problem !== undefined && <ErrorNote error={form.problem} />}
    </form>
  );
}

export interface SubmitButtonProps<V extends Values> {
  form: FormState<V>;
  children: ComponentChildren;
  kind?: "primary" | "plain" | "danger";
}

export function SubmitButton<V extends Values>({ form, children, kind = "primary" }: SubmitButtonProps<V>) {
  return (
    <Button type="submit" kind={kind} busy={form.busy}>
      {children}
    </Button>
  );
}

/** Warns before the tab is closed while `unsaved`; drafts make leaving within the app safe. */
export function useUnsaved(unsaved: boolean): void {
  useEffect(() => {
    if (!unsaved) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [unsaved]);
}
