/* Passkeys: what the browser says, in words. */
import { hasPasskeys, PromptmeshError } from "@promptmesh/client";

/** Whether this browser has passkeys, and for this address: they belong to names, so numbers have none. */
export const passkeysWork = (): boolean => hasPasskeys() && !/^[\d.]+$|^\[/.test(location.hostname);

/** Runs what asks the browser for a passkey; where the person gives up, or the browser cannot, it says what to do. */
export async function askingForPasskey<T>(run: () => Promise<T>, otherwise: string): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    throw new PromptmeshError({ code: "FAILED_PRECONDITION", reason: "PASSKEY_NOT_USED", message: told(error, otherwise), cause: error });
  }
}

function told(error: DOMException, otherwise: string): string {
  if (error.name === "InvalidStateError") return "This device has a passkey for your account already. Use that one, or another device.";
  if (error.name === "SecurityError") return `Passkeys do not work at this address (${location.host}). ${otherwise}`;
  return `No passkey was used. ${otherwise}`;
}
