/* Says that a form begins with what was typed before, and lets one drop it, which can be undone. */
import { Button } from "../components/Button";
import type { FormState } from "../components/form";
import { Note } from "../components/Pieces";
import { toast } from "../state/toasts";
import type { PostValues } from "./content";

export function DraftNote({ form }: { form: FormState<PostValues> }) {
  if (!form.restored) return null;
  const drop = () => {
    const typed = form.values;
    form.reset();
    toast("Your draft was dropped.", {
      action: { label: "Undo", run: () => (Object.keys(typed) as (keyof PostValues)[]).forEach((key) => form.set(key, typed[key]!)) },
    });
  };
  return (
    <Note>
      <div class="row">
        <p>You began this earlier. It is here as you left it.</p>
        <Button size="s" onClick={drop}>
          Drop it
        </Button>
      </div>
    </Note>
  );
}
