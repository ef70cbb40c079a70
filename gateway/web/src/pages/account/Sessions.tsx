/* Where one is logged in. */
import type { SessionInfo } from "@promptmesh/client/accounts";
import { useState } from "preact/hooks";
import { counted } from "../../components/amounts";
import { Button } from "../../components/Button";
import { Confirm } from "../../components/Confirm";
import { List } from "../../components/List";
import { Badge } from "../../components/Pieces";
import { Row, Rows } from "../../components/Rows";
import { Section } from "../../components/Section";
import { Time } from "../../components/Time";
import { accountsApi } from "../../state/accountsApi";
import { usePaged } from "../../state/paged";
import { user } from "../../state/session";
import { toast } from "../../state/toasts";

const PAGE_SIZE = 20;
const METHODS: Record<string, string> = { password: "password", totp: "app", recovery_code: "recovery code", passkey: "passkey" };

export function Sessions() {
  const [ending, setEnding] = useState<SessionInfo>();
  const [endingOthers, setEndingOthers] = useState(false);
  const list = usePaged(user.value?.userId ?? "", async (pageToken, signal) => {
    const { sessions, nextPageToken } = await accountsApi.accounts.listSessions({ pageSize: PAGE_SIZE, pageToken }, { signal });
    return { items: sessions, nextPageToken };
  });
  const others = list.items?.some((one) => !one.current) ?? false;
  return (
    <Section
      title="Devices"
      lead="Where you are logged in. Something you do not know? Log it out, then change your password."
      actions={
        others && (
          <Button size="s" onClick={() => setEndingOthers(true)}>
            Log out all others
          </Button>
        )
      }
    >
      <List list={list} label="Devices" moreLabel="Show more" empty={<p class="soft">No device is logged in.</p>}>
        {(sessions) => (
          <Rows label="Devices">
            {sessions.map((one) => (
              <Row
                key={one.sessionId}
                name={
                  <>
                    {one.device || "Unknown device"}
                    {one.current && <Badge tone="good">This device</Badge>}
                  </>
                }
                about={<About one={one} />}
                actions={
                  !one.current && (
                    <Button size="s" kind="danger" onClick={() => setEnding(one)}>
                      Log out<span class="visually-hidden"> {one.device}</span>
                    </Button>
                  )
                }
              />
            ))}
          </Rows>
        )}
      </List>
      {ending && (
        <Confirm
          title="Log this device out?"
          action="Log out"
          onClose={() => setEnding(undefined)}
          run={async () => {
            await accountsApi.accounts.revokeSession({ sessionId: ending.sessionId });
            list.change((sessions) => sessions.filter((one) => one.sessionId !== ending.sessionId));
            setEnding(undefined);
            toast("The device is logged out.");
          }}
        >
          <p>
            <strong>{ending.device || "Unknown device"}</strong>, last seen at <code>{ending.network || "an unknown network"}</code>, is out
            within a second.
          </p>
        </Confirm>
      )}
      {endingOthers && (
        <Confirm
          title="Log out all other devices?"
          action="Log out all others"
          onClose={() => setEndingOthers(false)}
          run={async () => {
            const { ended } = await accountsApi.accounts.revokeOtherSessions({});
            setEndingOthers(false);
            list.reload();
            toast(`${counted(ended, "device is", "devices are")} logged out.`);
          }}
        >
          <p>You stay logged in here alone. API keys go on working.</p>
        </Confirm>
      )}
    </Section>
  );
}

const About = ({ one }: { one: SessionInfo }) => (
  <>
    {one.network && (
      <>
        <code>{one.network}</code>
        {" · "}
      </>
    )}
    Last used <Time at={one.lastUseTime} /> · logged in <Time at={one.createTime} />
    {one.methods.length > 0 && ` by ${one.methods.map((method) => METHODS[method] ?? method.replace(/^oidc:/, "")).join(" and ")}`} · ends{" "}
    <Time at={one.endTime} /> at the latest
  </>
);
