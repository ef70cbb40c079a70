/** Where to go once in: a path of this app alone, whatever a link says. */
export function afterwards(then: string | null): string {
  if (!then) return "/";
  try {
    const url = new URL(then, location.origin);
    const own = url.origin === location.origin && !/^\/(log-in|register)\b/.test(url.pathname);
    return own ? url.pathname + url.search : "/";
  } catch {
    return "/";
  }
}
