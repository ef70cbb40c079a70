/** Where to go once in: a path of this app alone, whatever a link says. */
export function afterwards(then: string | null): string {
  if (!then) return "/";
  try {
    const url = new URL(then, location.origin);
    // A path that begins with two slashes is another host.
    const own =
      url.origin === location.origin && !url.pathname.startsWith("//") && !/^\/(log-in|register)\b/.test(url.pathname);
    return own ? url.pathname + url.search : "/";
  } catch {
    return "/";
  }
}
