/* Takes an invitation into an organisation. */
import { useState } from "preact/hooks";
import { LinkButton } from "../../components/Button";
import { to } from "../../router/routes";
import { accountsApi } from "../../state/accountsApi";
import { LinkPage } from "./LinkPage";
import { Press } from "./Press";

const toTeams = <LinkButton href={to.team()}>To your teams</LinkButton>;

export default function Invitation() {
  const [name, setName] = useState("");
  return (
    <LinkPage
      title="Join a team"
      lead="You were invited. The invitation is for the account with the address that it went to; that address must be confirmed."
      missing={toTeams}
      doneTitle={`You belong to ${name || "the team"}`}
      done={toTeams}
    >
      {(token, finish) => (
        <Press
          action="Accept the invitation"
          again={toTeams}
          run={async () => {
            const { displayName } = await accountsApi.organisations.acceptInvitation({ token });
            setName(displayName);
            finish();
          }}
        />
      )}
    </LinkPage>
  );
}
