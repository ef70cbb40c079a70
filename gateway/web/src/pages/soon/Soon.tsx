import { Page } from "../../components/Page";
import { EmptyState } from "../../components/Pieces";

export default function Soon() {
  return (
    <Page title="Not built yet">
      <EmptyState title="This page is not built yet">The API can already do what it will do.</EmptyState>
    </Page>
  );
}
