/* Where a page was scrolled to, and how to get there again. The thing at the top of the window counts, not a number of
   pixels: what stands above it may have grown meanwhile, and some of a page comes only after it is shown. */

/** A place of a page: `top` is used where nothing that is marked with `data-anchor` was in sight. */
export interface Scroll {
  top: number;
  anchor?: string;
  /** From the window's upper edge to the anchor's. */
  offset: number;
}

export const TOP: Scroll = { top: 0, offset: 0 };

/** So long a page may take to be as high as it was. */
const PATIENCE_MS = 10_000;
const NEAR_PX = 2;
/** From then on somebody scrolls for themselves. */
const TAKEN_OVER = ["wheel", "touchstart", "pointerdown", "keydown"];

/** Where the page stands: by what one leaves it through, else by the first thing whose beginning is seen. */
export function scrollNow(from?: Element): Scroll {
  if (scrollY === 0) return TOP;
  const marked = [...document.querySelectorAll<HTMLElement>("#main [data-anchor]")];
  const edge = (one: Element) => one.getBoundingClientRect().top;
  const mark =
    from?.closest<HTMLElement>("#main [data-anchor]") ?? marked.find((one) => edge(one) >= 0 && edge(one) < innerHeight);
  return { top: scrollY, ...(mark?.dataset["anchor"] && { anchor: mark.dataset["anchor"] }), offset: mark ? edge(mark) : 0 };
}

let giveUp: (() => void) | undefined;

/** Scrolls there, at once or as soon as enough of the page has come. */
export function scrollBack(to: Scroll): void {
  stopScrolling();
  if (aim(to)) return;
  const growing = new ResizeObserver(() => aim(to) && stopScrolling());
  const patience = setTimeout(stopScrolling, PATIENCE_MS);
  for (const kind of TAKEN_OVER) addEventListener(kind, stopScrolling, { passive: true });
  giveUp = () => {
    growing.disconnect();
    clearTimeout(patience);
    for (const kind of TAKEN_OVER) removeEventListener(kind, stopScrolling);
  };
  const main = document.getElementById("main");
  if (main) growing.observe(main);
}

/** Another page is asked for, or a person scrolls. */
export function stopScrolling(): void {
  giveUp?.();
  giveUp = undefined;
}

/** Scrolls as near as the page goes; answers whether that is the place. */
function aim({ top, anchor, offset }: Scroll): boolean {
  const mark = anchor && document.querySelector(`#main [data-anchor="${CSS.escape(anchor)}"]`);
  const goal = mark ? scrollY + mark.getBoundingClientRect().top - offset : top;
  scrollTo({ top: goal, behavior: "instant" });
  return (!anchor || Boolean(mark)) && Math.abs(scrollY - Math.max(0, goal)) < NEAR_PX;
}
