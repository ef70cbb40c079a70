import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { TextField } from "../../components/Field";
import { FILTERS, NONE, setFilters, type Filters } from "./filters";
import css from "./audit.module.css";

const ACTION = /^([a-z_]+(\.[a-z_]+)*(\.\*)?)?$/; // ListAuditRecordsRequest.action
/** Elsewhere they would push the records off the screen. */
const WIDE = "(min-width: 48rem)";
const ID_MAX = 64;

export function Search({ filters }: { filters: Filters }) {
  const [typed, setTyped] = useState(filters);
  const [wrong, setWrong] = useState("");
  const field = (name: keyof Filters) => ({ name, value: typed[name], onValue: (value: string) => setTyped({ ...typed, [name]: value }) });
  const filtered = FILTERS.some((name) => filters[name]);
  return (
    <form
      role="search"
      class="stack"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        const fine = ACTION.test(typed.action.trim());
        setWrong(fine ? "" : "Write an action such as user.suspend, or user.* for all that begin so.");
        if (fine) setFilters(typed);
      }}
    >
      <details class={css["more"]} open={filtered || matchMedia(WIDE).matches}>
        <summary>Filters</summary>
        <div class={css["filters"]}>
          <TextField label="Action" placeholder="user.suspend or user.*" autocomplete="off" maxLength={ID_MAX} error={wrong} {...field("action")} />
          <TextField label="By" placeholder="Id of who did it" autocomplete="off" maxLength={ID_MAX} {...field("actor")} />
          <TextField label="On" placeholder="Id of what it was done to" autocomplete="off" maxLength={ID_MAX} {...field("subject")} />
          <TextField label="Organisation" placeholder="Its id" autocomplete="off" maxLength={ID_MAX} {...field("org")} />
          <TextField label="From" type="datetime-local" {...field("from")} />
          <TextField label="Before" type="datetime-local" {...field("to")} />
        </div>
        <div class={css["go"]}>
          <Button type="submit" kind="primary" icon="search">
            Search
          </Button>
          {filtered && <Button onClick={() => setFilters(NONE)}>Show everything</Button>}
        </div>
      </details>
    </form>
  );
}
