/* The audit trail: who did what to whom, when, from where and why; whether its chain holds; and all of it as a file. */
import { useState } from "preact/hooks";
import { Button } from "../../components/Button";
import { List } from "../../components/List";
import { Page } from "../../components/Page";
import { EmptyState } from "../../components/Pieces";
import { accountsApi } from "../../state/accountsApi";
import { usePaged } from "../../state/paged";
import { user } from "../../state/session";
import { Export } from "./Export";
import { filtersOf, NONE, requestOf, setFilters } from "./filters";
import { Record } from "./Record";
import { Search } from "./Search";
import { Verify } from "./Verify";
import css from "./audit.module.css";

const PAGE_SIZE = 50;

export default function Audit() {
  const filters = filtersOf();
  const [tool, setTool] = useState<"verify" | "export">();
  const list = usePaged(`${user.value?.userId} ${JSON.stringify(filters)}`, async (pageToken, signal) => {
    const answer = await accountsApi.audit.listAuditRecords({ ...requestOf(filters), pageSize: PAGE_SIZE, pageToken }, { signal });
    return { items: answer.records, nextPageToken: answer.nextPageToken };
  });
  return (
    <Page
      title="Audit trail"
      width="wide"
      lead="Who did what to whom. Records are only ever added, each chained to the one before."
      actions={
        <>
          <Button icon="check" onClick={() => setTool("verify")}>
            Verify
          </Button>
          <Button onClick={() => setTool("export")}>Export</Button>
        </>
      }
    >
      <Search key={JSON.stringify(filters)} filters={filters} />
      <List
        list={list}
        label="Records"
        moreLabel="Show older records"
        empty={
          <EmptyState title="Nothing was recorded that fits" action={<Button onClick={() => setFilters(NONE)}>Show everything</Button>}>
            Take a filter away, or widen the time.
          </EmptyState>
        }
      >
        {(records) => (
          <ul class={css["records"]} aria-label="Records">
            {records.map((one) => (
              <Record key={String(one.sequence)} one={one} />
            ))}
          </ul>
        )}
      </List>
      {tool === "verify" && <Verify onClose={() => setTool(undefined)} />}
      {tool === "export" && <Export onClose={() => setTool(undefined)} />}
    </Page>
  );
}
