/* Some calls want a newer proof of who one is. The client asks here, once for all calls that wait; a dialog over the page
   takes the proof, and the client repeats them. */
import { signal } from "@preact/signals";
import { PromptmeshError } from "@promptmesh/client";
import { session } from "./api";

export const stepUpAsked = signal(false);

let waiting: { done: (proved: boolean) => void; given: (error: unknown) => void } | undefined;

export function startStepUp(): void {
  session.onStepUp = () => {
    stepUpAsked.value = true;
    return new Promise((done, given) => (waiting = { done, given }));
  };
}

export const stepUpDone = (): void => settle((one) => one.done(true));

/** What waited is refused, and says so where it was asked for. */
export const giveUpStepUp = (): void =>
  settle((one) =>
    one.given(
      new PromptmeshError({
        code: "ABORTED",
        reason: "STEP_UP_GIVEN_UP",
        message: "You did not confirm that it is you, so nothing was changed. What you entered is still here: try again to confirm.",
      }),
    ),
  );

function settle(end: (one: NonNullable<typeof waiting>) => void): void {
  stepUpAsked.value = false;
  const one = waiting;
  waiting = undefined;
  if (one) end(one);
}
