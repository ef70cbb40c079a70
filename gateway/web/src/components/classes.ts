/** Class names that apply, joined: `classes(css.button, busy && css.busy)`. */
export const classes = (...names: (string | false | null | undefined)[]): string => names.filter(Boolean).join(" ");
