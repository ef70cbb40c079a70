/* A person's roles: chosen first, then confirmed in words. The server refuses what would leave nobody in charge. */
import { Role, type User } from "@promptmesh/client";
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { Checkbox, TextArea } from "../../components/Field";
import { Dialog } from "../../components/Dialog";
import { ErrorNote, Note } from "../../components/Pieces";
import { isAbort } from "../../components/problems";
import { roleName, shownRoles } from "../../components/roles";
import { api } from "../../state/api";
import { call, user } from "../../state/session";
import { toast } from "../../state/toasts";

const ROLES: { role: Role; allows: string }[] = [
  { role: Role.MODERATOR, allows: "Decides held cases, and sees what is not published." },
  { role: Role.ADMIN, allows: "Changes people’s roles, the policy, models and limits. Decides cases too." },
  { role: Role.AUDITOR, allows: "Reads everything that is recorded, other people’s usage too. Changes nothing." },
];

export interface ChangeRolesProps {
  one: User;
  onChanged: (next: User) => void;
  onClose: () => void;
}

export function ChangeRoles({ one, onChanged, onClose }: ChangeRolesProps) {
  const had = shownRoles(one.roles);
  const [chosen, setChosen] = useState<Role[]>(had);
  const [reason, setReason] = useState("");
  const [confirming, setConfirming] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const gained = chosen.filter((role) => !had.includes(role));
  const lost = had.filter((role) => !chosen.includes(role));
  const same = !gained.length && !lost.length;
  const me = one.userId === user.value?.userId;

  const save = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const next = await call(() => api.auth.setRoles({ userId: one.userId, roles: chosen, reason: reason.trim() }));
      toast(`The roles of ${one.displayName} are changed.`);
      onChanged(next);
    } catch (caught) {
      if (!isAbort(caught)) setError(caught);
    } finally {
      setBusy(false);
    }
  };

  if (confirming) {
    return (
      <Dialog
        key="confirm"
        title="Change these roles?"
        onClose={onClose}
        actions={
          <>
            <Button
              onClick={() => {
                setConfirming(false);
                setError(undefined);
              }}
            >
              Back
            </Button>
            <Button kind={lost.length ? "danger" : "primary"} busy={busy} onClick={() => void save()}>
              Change roles
            </Button>
          </>
        }
      >
        <p>
          <strong>{one.displayName}</strong> <span class="soft">({one.email})</span>
        </p>
        <ul class="stack">
          {gained.map((role) => (
            <li key={role}>
              becomes <strong>{roleName(role).toLowerCase()}</strong>. {allowsOf(role)}
            </li>
          ))}
          {lost.map((role) => (
            <li key={role}>
              is no longer <strong>{roleName(role).toLowerCase()}</strong>.
            </li>
          ))}
        </ul>
        <TextArea label="Reason" optional hint="It stands in the audit trail." rows={2} maxLength={500} value={reason} onValue={setReason} />
        <p class="small soft">It holds within a second, on what they have open too.</p>
        {me && lost.includes(Role.ADMIN) && <Note tone="warn">You lose the pages for admins, this one with them.</Note>}
        {error !== undefined && <ErrorNote title="The roles are as they were" error={error} />}
      </Dialog>
    );
  }
  return (
    <Dialog
      key="choose"
      title="Roles"
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" disabled={same} onClick={() => setConfirming(true)}>
            Continue
          </Button>
        </>
      }
    >
      <p>
        <strong>{one.displayName}</strong> <span class="soft">({one.email})</span> may publish, like and run prompts, as everybody may,
        and is:
      </p>
      <div class="stack">
        {ROLES.map(({ role, allows }) => (
          <Checkbox
            key={role}
            label={roleName(role)}
            hint={allows}
            checked={chosen.includes(role)}
            onChecked={(on) => setChosen(on ? [...chosen, role] : chosen.filter((other) => other !== role))}
          />
        ))}
      </div>
    </Dialog>
  );
}

const allowsOf = (role: Role): string => ROLES.find((one) => one.role === role)?.allows ?? "";
