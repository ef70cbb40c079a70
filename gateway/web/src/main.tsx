import "./styles/tokens.css";
import "./styles/base.css";
import { render } from "preact";
import { App } from "./app";
import { startRouter } from "./router/router";
import { startConnection } from "./state/connection";
import { startSession } from "./state/session";
import { startTheme } from "./state/theme";

startTheme();
startRouter();
startConnection();
void startSession();
render(<App />, document.getElementById("app")!);
