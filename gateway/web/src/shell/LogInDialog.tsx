/* Logs in again over the page, which stays as it is; then what was refused is repeated. */
import { Dialog } from "../components/Dialog";
import { LogInForm } from "../getting-in/LogInForm";
import { place } from "../router/router";
import { to } from "../router/routes";
import { giveUpLogIn, loginAsked, user } from "../state/session";

export function LogInDialog() {
  const reason = loginAsked.value;
  if (reason === undefined) return null;
  const known = user.value;
  return (
    <Dialog title="Log in" onClose={giveUpLogIn}>
      <p class="soft">{reason}</p>
      <LogInForm
        email={known?.email ?? ""}
        onLeave={giveUpLogIn}
        aside={
          !known && (
            <a href={to.register(place.value.path)} onClick={giveUpLogIn}>
              Register instead
            </a>
          )
        }
      />
    </Dialog>
  );
}
