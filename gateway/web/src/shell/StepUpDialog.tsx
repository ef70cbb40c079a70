/* Asks who one is once more, over the page, which stays as it is; then what was refused is repeated. */
import { FactorKind, type ProofInit } from "@promptmesh/client";
import { Dialog } from "../components/Dialog";
import { ErrorNote, Skeleton } from "../components/Pieces";
import { ProofForm, waysOf } from "../getting-in/ProofForm";
import { Providers, useProviders } from "../getting-in/Providers";
import { place } from "../router/router";
import { session } from "../state/api";
import { useRead } from "../state/paged";
import { askToLogIn, sessionEnded } from "../state/session";
import { giveUpStepUp, stepUpAsked, stepUpDone } from "../state/stepup";

export const StepUpDialog = () => (stepUpAsked.value ? <Asking /> : null);

function Asking() {
  const factors = useRead("step-up", async (signal) => {
    const { accountsApi } = await import("../state/accountsApi");
    const { factors, recoveryCodesLeft } = await accountsApi.factors.listFactors({}, { signal });
    const kinds = factors.map((one) => one.kind);
    if (recoveryCodesLeft > 0) kinds.push(FactorKind.RECOVERY_CODE);
    // Who logs in elsewhere may never have set a password; nothing says so, since it would say it to a thief too.
    // Where that cannot be told now, the password still can be asked for.
    const linked = kinds.length ? [] : await accountsApi.federation.listIdentities({}, { signal }).then(
      (answer) => answer.identities,
      () => [],
    );
    return { kinds, linked: new Set(linked.map((one) => one.provider)) };
  });
  const providers = useProviders().filter(({ provider }) => factors.value?.linked.has(provider));
  const prove = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if (!sessionEnded(error)) throw error;
      // Too many wrong proofs end the session. Who logs in anew has proved it by that.
      await askToLogIn("Your session has ended. Log in again and we go on where you were; nothing you typed is lost.");
    }
    stepUpDone();
  };
  return (
    <Dialog title="Confirm that it is you" onClose={giveUpStepUp}>
      <p class="soft">This needs a fresh proof of who you are. Afterwards it goes on by itself.</p>
      {factors.value ? (
        <>
          <ProofForm
            ways={waysOf(factors.value.kinds, factors.value.kinds.length === 0)}
            action="Confirm"
            prove={(proof: ProofInit) => prove(() => session.confirm(proof))}
            provePasskey={() => prove(() => session.confirmWithPasskey())}
          />
          {providers.length > 0 && (
            <div class="stack">
              <p class="soft">If you never set a password: log in again where you log in, and then do this once more.</p>
              <div class="row">
                <Providers providers={providers} then={place.value.path} verb="Log in again" />
              </div>
            </div>
          )}
        </>
      ) : factors.error !== undefined ? (
        <ErrorNote error={factors.error} retry={factors.reload} />
      ) : (
        <Skeleton lines={3} label="Loading the ways to confirm" />
      )}
    </Dialog>
  );
}
