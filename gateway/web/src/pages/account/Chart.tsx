/* Bars, one a day. The picture is for the eye; a screen reader gets the sentence, and the table that stands below it. */
import { classes } from "../../components/classes";
import css from "./account.module.css";

export interface Bar {
  /** Under the bar: "1". */
  label: string;
  value: number;
  /** The value in words: "12 calls". */
  text: string;
  /** Not come yet. */
  future: boolean;
}

const STEP = 20;
const GAP = 4;
const HEIGHT = 120;
const FOOT = 18;
const LEAST = 2; // a bar that is not nothing is seen

export function Chart({ bars, label, top }: { bars: Bar[]; label: string; top: string }) {
  const most = Math.max(0, ...bars.map((bar) => bar.value));
  const width = bars.length * STEP;
  return (
    <figure class={css["chart"]}>
      <figcaption class="small faint">{most ? `Most on a day: ${top}` : ""}</figcaption>
      <svg viewBox={`0 0 ${width} ${HEIGHT + FOOT}`} role="img" aria-label={label}>
        <line x1={0} x2={width} y1={HEIGHT} y2={HEIGHT} class={css["axis"]} />
        {bars.map((bar, index) => {
          const height = most && bar.value ? Math.max(LEAST, (bar.value / most) * (HEIGHT - 1)) : 0;
          return (
            <g key={bar.label}>
              <rect class={css["room"]} x={index * STEP} y={0} width={STEP} height={HEIGHT}>
                <title>{bar.text}</title>
              </rect>
              <rect class={css["bar"]} x={index * STEP + GAP / 2} y={HEIGHT - height} width={STEP - GAP} height={height} rx={2} />
              {(index === 0 || (index + 1) % 5 === 0) && (
                <text class={classes(css["day"], bar.future && css["future"])} x={index * STEP + STEP / 2} y={HEIGHT + FOOT - 4}>
                  {bar.label}
                </text>
              )}
            </g>
          );
        })}
      </svg>
    </figure>
  );
}
