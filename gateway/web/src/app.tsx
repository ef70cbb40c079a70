/* The shell: header, navigation, banner, the page that is asked for, toasts and the log-in dialog. */
import { LogInDialog } from "./shell/LogInDialog";
import { ConnectionBanner, Toasts } from "./shell/Announcements";
import { Header } from "./shell/Header";
import { Outlet } from "./shell/Outlet";
import { StepUpDialog } from "./shell/StepUpDialog";
import css from "./app.module.css";

export function App() {
  return (
    <>
      <a class={css["skip"]} href="#main" onClick={toMain}>
        Skip to the content
      </a>
      <Header />
      <ConnectionBanner />
      <main id="main" tabIndex={-1} class={css["main"]}>
        <Outlet />
      </main>
      <footer class={css["footer"]}>
        <div>
          <span>Promptmesh</span>
          <a href="/reference">API reference</a>
          <a href="/openapi.json">OpenAPI</a>
        </div>
      </footer>
      <Toasts />
      <StepUpDialog />
      <LogInDialog />
    </>
  );
}

function toMain(event: Event): void {
  event.preventDefault();
  const main = document.getElementById("main");
  (main?.querySelector<HTMLElement>("h1") ?? main)?.focus();
}
