/* The frame of pages that a mail leads to. Without the mail's link they say how to get another one. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Page } from "../../components/Page";
import { EmptyState } from "../../components/Pieces";
import { forgetLink, linkToken } from "../../state/links";

export interface LinkPageProps {
  title: string;
  lead: string;
  /** What to do where the page was opened without a link, or the link is good no more. */
  missing: ComponentChildren;
  /** What to do next, once it is done. */
  done: ComponentChildren;
  doneTitle: string;
  /** What came of it beside that, if anything did. */
  doneText?: ComponentChildren;
  children: (token: string, finish: () => void) => ComponentChildren;
}

export function LinkPage({ title, lead, missing, done, doneTitle, doneText, children }: LinkPageProps) {
  const [finished, setFinished] = useState(false);
  const token = linkToken();
  const finish = () => {
    setFinished(true);
    forgetLink();
  };
  if (finished) {
    return (
      <Page title={title} width="narrow">
        <div role="status">
          <EmptyState title={doneTitle} action={done}>
            {doneText}
          </EmptyState>
        </div>
      </Page>
    );
  }
  if (!token) {
    return (
      <Page title={title} width="narrow">
        <EmptyState title="The link is not here any more" action={missing}>
          Open it from your mail once more: the secret in it is taken out of the address as soon as the page is open, so a reload does not
          have it.
        </EmptyState>
      </Page>
    );
  }
  return (
    <Page title={title} width="narrow" lead={lead}>
      {children(token, finish)}
    </Page>
  );
}
