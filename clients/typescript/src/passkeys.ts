/** Passkeys of this browser: from the options that the mesh made to the answer that it takes, both as JSON. */

/** Whether this browser can use passkeys. */
export function hasPasskeys(): boolean {
  return typeof PublicKeyCredential !== "undefined" && "parseRequestOptionsFromJSON" in PublicKeyCredential;
}

/**
 * Asks the person to register a passkey. `options`: of `factors.beginPasskey`; the answer is for `factors.createPasskey`.
 * Rejects with the browser's DOMException where the person gives up.
 */
export async function createPasskey(options: string): Promise<string> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(options));
  return written(await navigator.credentials.create({ publicKey }));
}

/** Asks the person for a passkey. `options`: of a challenge or of `factors.beginPasskeyProof`. */
export async function getPasskey(options: string): Promise<string> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(options));
  return written(await navigator.credentials.get({ publicKey }));
}

function written(credential: Credential | null): string {
  return JSON.stringify((credential as PublicKeyCredential).toJSON());
}
