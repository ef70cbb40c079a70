/* The states of a list that is read page by page: loading, failed, empty, there, and more of it. */
import type { ComponentChildren } from "preact";
import type { Paged } from "../state/paged";
import { Button } from "./Button";
import { Card, ErrorNote, Skeleton } from "./Pieces";

export interface ListProps<T> {
  list: Paged<T>;
  /** What it holds, for a screen reader and for what is said when it cannot be read: "API keys". */
  label: string;
  /** Stands there where it is empty. */
  empty: ComponentChildren;
  /** Words of the button that reads on. */
  moreLabel: string;
  children: (items: T[]) => ComponentChildren;
}

export function List<T>({ list, label, empty, moreLabel, children }: ListProps<T>) {
  const { items, error, loading, more } = list;
  if (!items) {
    if (error !== undefined) return <ErrorNote title={`${label} could not be read`} error={error} retry={list.reload} />;
    return (
      <Card>
        <Skeleton lines={5} label={`Loading ${label}`} />
      </Card>
    );
  }
  return (
    <div class="stack" aria-busy={loading || undefined}>
      {items.length ? children(items) : empty}
      {error !== undefined && <ErrorNote error={error} retry={more ? list.loadMore : list.reload} />}
      {more && error === undefined && (
        <div class="row">
          <Button busy={loading} onClick={list.loadMore}>
            {moreLabel}
          </Button>
        </div>
      )}
    </div>
  );
}
