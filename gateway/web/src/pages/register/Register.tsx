import { PromptmeshError } from "@promptmesh/client";
import { useEffect, useState } from "preact/hooks";
import { LinkButton } from "../../components/Button";
import { PasswordField, TextField } from "../../components/Field";
import { Form, SubmitButton, useForm } from "../../components/form";
import { Page } from "../../components/Page";
import { EmptyState } from "../../components/Pieces";
import { PASSWORD_HINT, tooShort } from "../../getting-in/passwords";
import { navigate, query } from "../../router/router";
import { to } from "../../router/routes";
import { register, who } from "../../state/session";
import { afterwards } from "../log-in/afterwards";

export default function Register() {
  const then = afterwards(query.value.get("then"));
  const [asked, setAsked] = useState("");
  const form = useForm({
    name: "register",
    initial: { displayName: "", email: "", password: "" },
    secret: ["password"],
    check: ({ displayName, email, password }) => ({
      ...(!displayName.trim() && { displayName: "Enter the name that others will see." }),
      ...(!/^\S+@\S+$/.test(email) && { email: "Enter your e-mail address, such as ada@example.com." }),
      ...(tooShort(password) && { password: tooShort(password) }),
    }),
    submit: async ({ displayName, email, password }) => {
      try {
        await register(email, password, displayName);
      } catch (error) {
        // Taken, but not to be logged in to yet: this mesh wants the address to be proved first.
        if (!(error instanceof PromptmeshError) || error.reason !== "LOGIN_FAILED") throw error;
        setAsked(email);
      }
    },
  });
  const state = who.value.state;
  useEffect(() => {
    if (state === "in") navigate(then, { replace: true });
  }, [state]);
  if (asked) {
    return (
      <Page title="Look into your mail" width="narrow">
        <div role="status">
          <EmptyState
            title="One more step"
            action={
              <LinkButton kind="primary" href={to.logIn(then)}>
                To the log-in
              </LinkButton>
            }
          >
            A mail is on its way to <strong>{asked}</strong>. Open its link within a day and enter the password that you chose; then log in. If
            the address has an account already, the mail says so. Nothing came? Look among the unwanted mails, or check the address.
          </EmptyState>
        </div>
      </Page>
    );
  }
  return (
    <Page
      title="Register"
      width="narrow"
      lead={
        <>
          Registered already? <a href={to.logIn(then)}>Log in</a>
        </>
      }
    >
      <Form form={form} label="Register">
        <TextField
          label="Name"
          hint="Shown with what you publish."
          autocomplete="nickname"
          maxLength={64}
          {...form.field("displayName")}
        />
        <TextField label="E-mail" hint="To log in with, and for mails about your account. Never shown." type="email" autocomplete="username" {...form.field("email")} />
        <PasswordField
          label="Password"
          hint={PASSWORD_HINT}
          autocomplete="new-password"
          {...form.field("password")}
        />
        <SubmitButton form={form}>Register</SubmitButton>
      </Form>
    </Page>
  );
}
