/* What an act changed, from its JSON (`{"before": {…}, "after": {…}}`) to rows. It is shown as text, whatever it is. */

export interface Change {
  field: string;
  before: string;
  after: string;
}

export function changesOf(json: string): Change[] {
  if (!json) return [];
  try {
    const { before, after } = JSON.parse(json) as { before?: unknown; after?: unknown };
    const [old, next] = [fields(before), fields(after)];
    return [...new Set([...Object.keys(old), ...Object.keys(next)])].sort().map((field) => ({
      field,
      before: field in old ? written(old[field]) : "",
      after: field in next ? written(next[field]) : "",
    }));
  } catch {
    return [{ field: "change", before: "", after: json }];
  }
}

const fields = (value: unknown): Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : value === undefined || value === null ? {} : { value };

const written = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
