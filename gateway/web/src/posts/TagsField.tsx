/* Tags as chips. Enter or a comma makes one of what is typed, Backspace in the empty field takes the last one back. */
import { useRef, useState } from "preact/hooks";
import { classes } from "../components/classes";
import { Field } from "../components/Field";
import { Icon } from "../components/Icon";
import { TAG_MAX, TAGS_MAX, tagsIn, tagsProblem } from "./content";
import css from "./tags.module.css";

export interface TagsFieldProps {
  tags: string[];
  /** What is typed and no tag yet. */
  text: string;
  onTags: (tags: string[]) => void;
  onText: (text: string) => void;
  error?: string | undefined;
}

export function TagsField({ tags, text, onTags, onText, error }: TagsFieldProps) {
  const input = useRef<HTMLInputElement>(null);
  const [problem, setProblem] = useState<string>();
  const [said, say] = useState("");

  /** Makes tags of the text; false: they cannot be, and why is shown. */
  const add = (typed: string): boolean => {
    const adding = [...new Set(tagsIn(typed))];
    const wrong = tagsProblem(adding, tags);
    setProblem(wrong);
    if (wrong) return false;
    onText("");
    if (adding.length) {
      onTags([...tags, ...adding]);
      say(`Added ${adding.join(", ")}.`);
    }
    return true;
  };
  const remove = (tag: string) => {
    setProblem(undefined);
    onTags(tags.filter((one) => one !== tag));
    say(`Removed ${tag}.`);
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      // Never sends the form: whoever types tags expects a tag.
      event.preventDefault();
      add(text);
    } else if (event.key === "Backspace" && !text && tags.length) {
      remove(tags.at(-1)!);
    }
  };
  const onInput = (typed: string) => {
    setProblem(undefined);
    if (!typed.includes(",") || !add(typed)) onText(typed);
  };

  return (
    <Field
      label="Tags"
      optional
      aside={`${tags.length} of ${TAGS_MAX}`}
      hint={`Letters, digits and hyphens, such as short-story; up to ${TAG_MAX} characters each. Press Enter after each.`}
      error={problem ?? error}
    >
      {(wiring) => (
        <div class={classes(css["box"], (problem ?? error) && css["wrong"])} onClick={() => input.current?.focus()}>
          {tags.length > 0 && (
            <ul class={css["chips"]} aria-label="Added">
              {tags.map((tag) => (
                <li key={tag} class={css["chip"]}>
                  <span>
                    <span aria-hidden="true">#</span>
                    {tag}
                  </span>
                  <button
                    type="button"
                    aria-label={`Remove tag ${tag}`}
                    onClick={(event) => {
                      event.stopPropagation();
                      remove(tag);
                    }}
                  >
                    <Icon name="close" size={14} />
                  </button>
                </li>
              ))}
            </ul>
          )}
          <input
            {...wiring}
            ref={input}
            class={css["input"]}
            value={text}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            enterKeyHint="enter"
            onInput={(event) => onInput(event.currentTarget.value)}
            onKeyDown={onKeyDown}
            onBlur={() => text.trim() && add(text)}
          />
          <span class="visually-hidden" role="status">
            {said}
          </span>
        </div>
      )}
    </Field>
  );
}
