/* Light, dark, or as the system has it; remembered on this device and the same in every tab. */
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "promptmesh.theme";
const COLOURS = { light: "#fafaf8", dark: "#141413" };

const read = (): Theme => {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system"; // storage is forbidden: chosen for this page alone
  }
};

export const theme = signal<Theme>(read());

export function setTheme(next: Theme): void {
  theme.value = next;
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // As above.
  }
}

export function startTheme(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const bar = document.createElement("meta");
  bar.name = "theme-color";
  document.head.append(bar);
  const paint = () => {
    const chosen = theme.value;
    if (chosen === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = chosen;
    bar.content = COLOURS[chosen === "system" ? (dark.matches ? "dark" : "light") : chosen];
  };
  effect(paint);
  dark.addEventListener("change", paint);
  addEventListener("storage", (event) => {
    if (event.key === KEY) theme.value = read();
  });
}
