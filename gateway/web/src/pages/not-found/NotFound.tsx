import { LinkButton } from "../../components/Button";
import { Page } from "../../components/Page";
import { EmptyState } from "../../components/Pieces";
import { to } from "../../router/routes";

export default function NotFound() {
  return (
    <Page title="Not found">
      <EmptyState title="There is nothing at this address" action={<LinkButton href={to.feed()}>To the feed</LinkButton>}>
        It may have been deleted, or the address has a mistake in it.
      </EmptyState>
    </Page>
  );
}
