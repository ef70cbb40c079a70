/* Fields of a form: a label that is always seen, a hint, and what is wrong in words beside it. */
import type { ComponentChildren, InputHTMLAttributes, SelectHTMLAttributes, TextareaHTMLAttributes } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "./Button";
import { classes } from "./classes";
import { Icon } from "./Icon";
import css from "./Field.module.css";

export interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string | undefined;
  /** Shown beside the label: a count, a link. */
  aside?: ComponentChildren;
  optional?: boolean;
}

interface Wiring {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
}

/** The frame of any control: `children` gets what ties the control to its label, hint and error. */
export function Field({
  label,
  hint,
  error,
  aside,
  optional = false,
  children,
}: FieldProps & { children: (wiring: Wiring) => ComponentChildren }) {
  const id = useId();
  const describedBy = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class={css["field"]}>
      <div class={css["top"]}>
        <label for={id}>
          {label}
          {optional && <span class={css["optional"]}> (optional)</span>}
        </label>
        {aside && <span class={css["aside"]}>{aside}</span>}
      </div>
      {children({ id, "aria-describedby": describedBy || undefined, "aria-invalid": error ? true : undefined })}
      {hint && (
        <p id={`${id}-hint`} class={css["hint"]}>
          {hint}
        </p>
      )}
      {error && (
        <p id={`${id}-error`} class={css["error"]}>
          <Icon name="warning" size={16} />
          <span>{error}</span>
        </p>
      )}
    </div>
  );
}

type Text = { value: string; onValue: (value: string) => void };
type Native<T> = Omit<T, "value" | "onInput" | "onChange" | "label" | "id" | "class">;

export function TextField(props: FieldProps & Text & Native<InputHTMLAttributes<HTMLInputElement>>) {
  const { label, hint, error, aside, optional, value, onValue, ...rest } = props;
  return (
    <Field {...{ label, hint, error, aside }} optional={optional ?? false}>
      {(wiring) => (
        <input
          {...(rest as object)}
          {...wiring}
          class={css["control"]}
          value={value}
          onInput={(event) => onValue(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

/** A password with a switch to see it: safer than typing it twice. */
export function PasswordField(props: FieldProps & Text & Native<InputHTMLAttributes<HTMLInputElement>>) {
  const { label, hint, error, aside, optional, value, onValue, ...rest } = props;
  const [shown, show] = useState(false);
  return (
    <Field {...{ label, hint, error, aside }} optional={optional ?? false}>
      {(wiring) => (
        <div class={css["with-button"]}>
          <input
            {...(rest as object)}
            {...wiring}
            type={(shown ? "text" : "password") as "password"}
            class={css["control"]}
            value={value}
            onInput={(event) => onValue(event.currentTarget.value)}
          />
          <Button size="s" kind="quiet" aria-pressed={shown} onClick={() => show(!shown)}>
            {shown ? "Hide" : "Show"}
            <span class="visually-hidden"> password</span>
          </Button>
        </div>
      )}
    </Field>
  );
}

/** Text of several lines that grows with what is in it. */
export function TextArea(props: FieldProps & Text & Native<TextareaHTMLAttributes<HTMLTextAreaElement>>) {
  const { label, hint, error, aside, optional, value, onValue, ...rest } = props;
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight + 2}px`;
  }, [value]);
  return (
    <Field {...{ label, hint, error, aside }} optional={optional ?? false}>
      {(wiring) => (
        <textarea
          rows={4}
          {...(rest as object)}
          {...wiring}
          ref={area}
          class={classes(css["control"], css["area"])}
          value={value}
          onInput={(event) => onValue(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

export function Select(
  props: FieldProps & Text & Native<SelectHTMLAttributes<HTMLSelectElement>> & { options: { value: string; label: string }[] },
) {
  const { label, hint, error, aside, optional, value, onValue, options, ...rest } = props;
  return (
    <Field {...{ label, hint, error, aside }} optional={optional ?? false}>
      {(wiring) => (
        <select
          {...(rest as object)}
          {...wiring}
          class={css["control"]}
          value={value}
          onChange={(event) => onValue(event.currentTarget.value)}
        >
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function Checkbox(props: {
  label: ComponentChildren;
  hint?: ComponentChildren;
  checked: boolean;
  disabled?: boolean;
  onChecked: (checked: boolean) => void;
}) {
  const id = useId();
  return (
    <div class={css["check"]}>
      <input
        id={id}
        type="checkbox"
        checked={props.checked}
        disabled={props.disabled ?? false}
        aria-describedby={props.hint ? `${id}-hint` : undefined}
        onChange={(event) => props.onChecked(event.currentTarget.checked)}
      />
      <div>
        <label for={id}>{props.label}</label>
        {props.hint && (
          <p id={`${id}-hint`} class={css["hint"]}>
            {props.hint}
          </p>
        )}
      </div>
    </div>
  );
}
