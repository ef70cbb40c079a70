/* Buttons of the identity providers that the operator configured. Where there are none, or the mesh knows of no such
   thing, nothing is shown: the password and passkeys are always there. */
import type { IdentityProvider } from "@promptmesh/client/accounts";
import { useEffect, useState } from "preact/hooks";
import { Button } from "../components/Button";
import { ErrorNote } from "../components/Pieces";
import { isAbort } from "../components/problems";
import { session } from "../state/api";

const THEN = "promptmesh.after-provider";

/** Where one wanted to go before the provider's page; read once. */
export function placeAfterProvider(): string | null {
  const then = sessionStorage.getItem(THEN);
  sessionStorage.removeItem(THEN);
  return then;
}

export function useProviders(): IdentityProvider[] {
  const [providers, setProviders] = useState<IdentityProvider[]>([]);
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      const { accountsApi } = await import("../state/accountsApi");
      setProviders((await accountsApi.federation.listIdentityProviders({}, { signal: stop.signal })).providers);
    };
    read().catch(() => undefined);
    return () => stop.abort();
  }, []);
  return providers;
}

export function Providers({ providers, then, verb = "Log in" }: { providers: IdentityProvider[]; then: string; verb?: string }) {
  const [going, setGoing] = useState("");
  const [error, setError] = useState<unknown>();
  const go = async (provider: string) => {
    setGoing(provider);
    setError(undefined);
    try {
      const url = new URL(await session.beginProviderLogIn(provider));
      if (!/^https?:$/.test(url.protocol)) throw new Error(`${url.protocol} is no page of a provider`);
      sessionStorage.setItem(THEN, then);
      location.assign(url.href);
    } catch (caught) {
      setGoing("");
      if (!isAbort(caught)) setError(caught);
    }
  };
  return (
    <>
      {providers.map(({ provider, displayName }) => (
        <Button key={provider} busy={going === provider} onClick={() => void go(provider)}>
          {verb} with {displayName || provider}
        </Button>
      ))}
      {error !== undefined && <ErrorNote error={error} />}
    </>
  );
}
