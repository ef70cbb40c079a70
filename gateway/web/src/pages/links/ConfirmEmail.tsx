/* Takes a new address, with the link that was mailed to it, while one is logged in. */
import { LinkButton } from "../../components/Button";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { session } from "../../state/api";
import { LinkPage } from "./LinkPage";
import { Press } from "./Press";

const toAccount = <LinkButton href={to.account()}>To your account</LinkButton>;

export default function ConfirmEmail() {
  return (
    <LinkPage
      title="Use this address"
      lead="From now on you log in with the address that the link went to. Other devices are logged out."
      missing={toAccount}
      doneTitle="Your address is changed"
      done={toAccount}
    >
      {(token, finish) => (
        <Press
          action="Use the new address"
          again={toAccount}
          run={async () => {
            await accountsApi.accounts.confirmEmailChange({ token });
            await session.reload().catch(() => undefined);
            finish();
          }}
        />
      )}
    </LinkPage>
  );
}
