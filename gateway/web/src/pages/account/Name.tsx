import { TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Section } from "../../components/Section";
import { accountsApi } from "../../state/accountsApi";
import { session } from "../../state/api";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";

/** The name that others see. */
export function Name() {
  const form = useForm({
    initial: { displayName: user.value?.displayName ?? "" },
    check: ({ displayName }) => (displayName.trim() ? {} : { displayName: "Enter the name that others will see." }),
    submit: async ({ displayName }) => {
      await accountsApi.accounts.updateMe({ user: { displayName }, updateMask: { paths: ["display_name"] } });
      await session.reload();
      toast("Your name is changed. It takes a moment until posts show it.");
    },
  });
  return (
    <Section title="Name">
      <Form form={form} label="Name">
        <TextField label="Name" hint="Shown with what you publish." autocomplete="nickname" maxLength={64} {...form.field("displayName")} />
        <div class="row">
          <SubmitButton form={form} kind="plain">
            Change the name
          </SubmitButton>
        </div>
      </Form>
    </Section>
  );
}
