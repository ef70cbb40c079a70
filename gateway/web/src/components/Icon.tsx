/* Icons, drawn on a 20-pixel grid in the colour of the text around them. They say nothing by themselves: what is
   pressed has a label. */
const PATHS = {
  heart: "M10 16.5s-6-3.6-6-8A3.4 3.4 0 0 1 10 6.3 3.4 3.4 0 0 1 16 8.5c0 4.4-6 8-6 8z",
  list: "M4 6h12M4 10h12M4 14h8",
  key: "M7 7.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM9.6 8.6L16.5 3.5M13.3 6l2 2.5",
  gear: "M4 6.5h6M14 6.5h2M4 13.5h2M10 13.5h6M12 4.5v4M8 11.5v4",
  leave: "M11.5 4.5h-6v11h6M9 10h7M13.5 7.5L16 10l-2.5 2.5",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  close: "M5 5l10 10M15 5L5 15",
  check: "M4 10.5l4 4 8-9",
  copy: "M7.5 7.5h8v8h-8zM12.5 7.5v-3h-8v8h3",
  chevron: "M6 8l4 4 4-4",
  arrowUp: "M10 16V4.5M5 9l5-5 5 5",
  pen: "M4 16l.8-3.4L13 4.4l2.6 2.6-8.2 8.2zM11.5 6l2.6 2.6",
  person: "M10 10a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM4 16.5c.8-3 3-4.5 6-4.5s5.2 1.5 6 4.5",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 11.5A6.5 6.5 0 0 1 8.5 4a6.5 6.5 0 1 0 7.5 7.5z",
  screen: "M3 4.5h14v9H3zM7.5 16.5h5",
  warning: "M10 3.5l7 12.5H3zM10 8.5v3.5M10 14v.3",
  link: "M8.5 11.5l3-3M7.5 8.5L5.8 10.2a2.8 2.8 0 0 0 4 4l1.7-1.7M12.5 11.5l1.7-1.7a2.8 2.8 0 0 0-4-4L8.5 7.5",
  play: "M6.5 4.5l9 5.5-9 5.5z",
  stop: "M5.5 5.5h9v9h-9z",
  plus: "M10 4v12M4 10h12",
  search: "M9 4a5 5 0 1 0 0 10A5 5 0 0 0 9 4zM12.7 12.7L16.5 16.5",
  clock: "M10 3.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM10 6.5V10l2.5 1.5",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10h7.6l.7-10",
} as const;

export type IconName = keyof typeof PATHS;

export interface IconProps {
  name: IconName;
  size?: number;
  filled?: boolean;
}

export function Icon({ name, size = 20, filled = false }: IconProps) {
  return (
    <svg width={size} height={size} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path
        d={PATHS[name]}
        fill={filled ? "currentColor" : "none"}
        stroke="currentColor"
        stroke-width="1.5"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}
