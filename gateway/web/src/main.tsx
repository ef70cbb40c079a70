import "./styles/tokens.css";
import "./styles/base.css";
import { render } from "preact";
import { App } from "./app";
import { startRouter } from "./router/router";
import { startConnection } from "./state/connection";
import { startSession } from "./state/session";
import { startLinks } from "./state/links";
import { startStepUp } from "./state/stepup";
import { startTheme } from "./state/theme";

startTheme();
startLinks();
startRouter();
startConnection();
startStepUp();
void startSession();
render(<App />, document.getElementById("app")!);
