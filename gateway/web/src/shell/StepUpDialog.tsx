/* Asks who one is once more, over the page, which stays as it is; then what was refused is repeated. */
import { FactorKind, type ProofInit } from "@promptmesh/client";
import { Dialog } from "../components/Dialog";
import { ErrorNote, Skeleton } from "../components/Pieces";
import { ProofForm, waysOf } from "../getting-in/ProofForm";
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
    return recoveryCodesLeft > 0 ? [...kinds, FactorKind.RECOVERY_CODE] : kinds;
  });
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
        <ProofForm
          ways={waysOf(factors.value, factors.value.length === 0)}
          action="Confirm"
          prove={(proof: ProofInit) => prove(() => session.confirm(proof))}
          provePasskey={() => prove(() => session.confirmWithPasskey())}
        />
      ) : factors.error !== undefined ? (
        <ErrorNote error={factors.error} retry={factors.reload} />
      ) : (
        <Skeleton lines={3} label="Loading the ways to confirm" />
      )}
    </Dialog>
  );
}
