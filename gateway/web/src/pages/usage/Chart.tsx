/* Bars, one a day. The picture is for the eye; a screen reader gets the sentence, and the table that stands below it. */
import css from "./usage.module.css";

export interface Bar {
  /** Under the bar: "1". */
  label: string;
  value: number;
  /** The value in words: "12 calls". */
  text: string;
}

// In units of the drawing, which is stretched to the room there is; the words stand beside it, so that they are not.
const STEP = 20;
const GAP = 4;
const HEIGHT = 120;
const LEAST = 2; // a bar that is not nothing is seen
const NAMED_EVERY = 5;

export function Chart({ bars, label, top }: { bars: Bar[]; label: string; top: string }) {
  const most = Math.max(0, ...bars.map((bar) => bar.value));
  const width = bars.length * STEP;
  return (
    <figure class={css["chart"]}>
      <figcaption class="small faint">{most ? `Most on a day: ${top}` : ""}</figcaption>
      <svg viewBox={`0 0 ${width} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
        <line x1={0} x2={width} y1={HEIGHT} y2={HEIGHT} class={css["axis"]} />
        {bars.map((bar, index) => {
          const height = most && bar.value ? Math.max(LEAST, (bar.value / most) * (HEIGHT - 1)) : 0;
          return (
            <g key={bar.label}>
              <rect class={css["room"]} x={index * STEP} y={0} width={STEP} height={HEIGHT}>
                <title>{bar.text}</title>
              </rect>
              <rect class={css["bar"]} x={index * STEP + GAP / 2} y={HEIGHT - height} width={STEP - GAP} height={height} />
            </g>
          );
        })}
      </svg>
      <div class={css["days-of-month"]} aria-hidden="true">
        {bars.map((bar, index) => (
          <span key={bar.label}>{(index === 0 || (index + 1) % NAMED_EVERY === 0) && bar.label}</span>
        ))}
      </div>
    </figure>
  );
}
