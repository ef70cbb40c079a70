/* What one has used, and what one may use. */
import { Page } from "../../components/Page";
import { Card } from "../../components/Pieces";
import { user } from "../../state/session";
import { Limits } from "./Limits";
import { Usage } from "./Usage";

export default function UsagePage() {
  return (
    <Page title="Usage" acts lead="What your calls of models took this month, and what is left of your limits.">
      <Card>
        <section class="stack" aria-labelledby="usage">
          <h2 id="usage">This month</h2>
          <Usage />
        </section>
      </Card>
      <Card>
        <section class="stack" aria-labelledby="limits">
          <h2 id="limits">Limits</h2>
          {user.value?.plan && (
            <p class="soft">
              From the plan <strong>{user.value.plan}</strong>, and what was set for you.
            </p>
          )}
          <Limits />
        </section>
      </Card>
    </Page>
  );
}
