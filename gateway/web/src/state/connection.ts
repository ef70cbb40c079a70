/* Whether the mesh can be reached, as the shell's banner shows it. Streams tell; so does the browser. */
import { computed, signal } from "@preact/signals";

export type Connection = "connected" | "offline" | "reconnecting" | "recovered";

const RECOVERED_SHOWN_MS = 3_000;

const online = signal(navigator.onLine);
/** Names of streams that are trying to come back. */
const struggling = signal<ReadonlySet<string>>(new Set());
const recovered = signal(false);
let timer: ReturnType<typeof setTimeout> | undefined;

export const connection = computed<Connection>(() => {
  if (!online.value) return "offline";
  if (struggling.value.size) return "reconnecting";
  return recovered.value ? "recovered" : "connected";
});

/** A stream tells how it is: `streamState("feed", "reconnecting")`, later `"connected"`; `"connected"` when it ends. */
export function streamState(name: string, state: "connected" | "reconnecting"): void {
  const was = struggling.value;
  if (was.has(name) === (state === "reconnecting")) return;
  const next = new Set(was);
  if (state === "reconnecting") next.add(name);
  else next.delete(name);
  struggling.value = next;
  if (!next.size && online.value) celebrate();
}

function celebrate(): void {
  recovered.value = true;
  clearTimeout(timer);
  timer = setTimeout(() => (recovered.value = false), RECOVERED_SHOWN_MS);
}

export function startConnection(): void {
  addEventListener("offline", () => (online.value = false));
  addEventListener("online", () => {
    online.value = true;
    if (!struggling.value.size) celebrate();
  });
}
