/* Title, prompt and tags: what one writes of a post, new or not. */
import { count } from "../components/amounts";
import { TextArea, TextField } from "../components/Field";
import type { FormState } from "../components/form";
import { BODY_MAX, characters, TITLE_MAX, tooLong, type PostValues } from "./content";
import { TagsField } from "./TagsField";

const BODY_ROWS = 10;
const TITLE_COUNTED_FROM = 160; // of 200: before that the count is of no use

export function PostFields({ form }: { form: FormState<PostValues> }) {
  const { title, body, tags, tag } = form.values;
  const titleLength = characters(title);
  const bodyLength = characters(body);
  return (
    <>
      <TextField
        label="Title"
        hint={`What it does, in one line of up to ${TITLE_MAX} characters.`}
        aside={titleLength >= TITLE_COUNTED_FROM ? `${titleLength} of ${TITLE_MAX}` : undefined}
        autocomplete="off"
        {...form.field("title")}
        error={form.errors["title"] ?? (titleLength > TITLE_MAX ? tooLong(title, TITLE_MAX) : undefined)}
      />
      <TextArea
        label="Prompt"
        hint="Sent to a model as it stands here. Leave out keys, addresses and other secrets: everyone will see it."
        aside={<span class="numbers">{`${count(bodyLength)} of ${count(BODY_MAX)}`}</span>}
        rows={BODY_ROWS}
        {...form.field("body")}
        error={form.errors["body"] ?? (bodyLength > BODY_MAX ? tooLong(body, BODY_MAX) : undefined)}
      />
      <TagsField
        tags={tags}
        text={tag}
        onTags={(next) => form.set("tags", next)}
        onText={(next) => form.set("tag", next)}
        error={form.errors["tags"]}
      />
    </>
  );
}
