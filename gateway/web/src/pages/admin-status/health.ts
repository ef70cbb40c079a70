/* Whether the services serve, as the edge sees them: asked again and again while somebody looks. */
import { useEffect, useState } from "preact/hooks";

export interface Health {
  /** By name of the service. Undefined: not known, for the edge did not answer. */
  services: Record<string, boolean> | undefined;
  /** When that was. */
  at: Date;
}

export const POLL_MS = 5_000;
const TIMEOUT_MS = 4_000;

interface Answer {
  services: Record<string, string>;
}

async function ask(signal: AbortSignal): Promise<Health> {
  try {
    // 503 is an answer too: it says which service does not serve.
    const answer = await fetch("/healthz", { signal, cache: "no-store" });
    const { services } = (await answer.json()) as Answer;
    return {
      services: Object.fromEntries(Object.entries(services).map(([name, state]) => [name, state === "SERVING"])),
      at: new Date(),
    };
  } catch {
    return { services: undefined, at: new Date() };
  }
}

/** Undefined until the first answer. A tab that is hidden asks nothing; once seen again it asks at once. */
export function useHealth(): Health | undefined {
  const [health, setHealth] = useState<Health>();
  useEffect(() => {
    const left = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asking = false;
    const turn = async () => {
      if (asking || document.hidden) return;
      clearTimeout(timer);
      asking = true;
      const found = await ask(AbortSignal.any([left.signal, AbortSignal.timeout(TIMEOUT_MS)]));
      asking = false;
      if (left.signal.aborted) return;
      setHealth(found);
      if (!document.hidden) timer = setTimeout(() => void turn(), POLL_MS);
    };
    const seen = () => {
      clearTimeout(timer);
      void turn();
    };
    document.addEventListener("visibilitychange", seen);
    void turn();
    return () => {
      left.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, []);
  return health;
}
