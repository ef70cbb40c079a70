/* Every page of the app: its path, who may see it, and the code that shows it, which is loaded when it is needed.
   The edge serves the app at these paths and no others (gateway/web_app.py reads them from this file's `path` lines). */
import type { ComponentType } from "preact";

/** `session`: log in first. A role: for who has it. */
export type Access = "anyone" | "session" | "moderator" | "admin";

export interface PageProps {
  /** Parts of the path by their name: `/p/:id` gives `id`. */
  params: Record<string, string>;
}

export interface PageModule {
  default: ComponentType<PageProps>;
}

export interface Route {
  name: string;
  path: string;
  access: Access;
  load: () => Promise<PageModule>;
}

export interface Match {
  route: Route;
  params: Record<string, string>;
}

const soon = () => import("../pages/soon/Soon");

export const routes: Route[] = [
  { name: "feed", path: "/", access: "anyone", load: () => import("../pages/feed/Feed") },
  { name: "tag", path: "/tag/:tag", access: "anyone", load: () => import("../pages/feed/Feed") },
  { name: "log-in", path: "/log-in", access: "anyone", load: () => import("../pages/log-in/LogIn") },
  { name: "register", path: "/register", access: "anyone", load: () => import("../pages/register/Register") },
  { name: "profile", path: "/people/:id", access: "anyone", load: soon },
  { name: "post", path: "/p/:id", access: "anyone", load: soon },
  { name: "edit", path: "/p/:id/edit", access: "session", load: soon },
  { name: "write", path: "/write", access: "session", load: soon },
  { name: "playground", path: "/playground", access: "session", load: soon },
  { name: "keys", path: "/keys", access: "session", load: soon },
  { name: "account", path: "/account", access: "session", load: soon },
  { name: "moderation", path: "/moderation", access: "moderator", load: soon },
  { name: "users", path: "/admin/users", access: "admin", load: soon },
  { name: "status", path: "/admin/status", access: "admin", load: soon },
];

export const notFound: Route = {
  name: "not-found",
  path: "",
  access: "anyone",
  load: () => import("../pages/not-found/NotFound"),
};

const patterns = routes.map((route) => ({
  route,
  expression: new RegExp(`^${route.path.replace(/:(\w+)/g, "(?<$1>[^/]+)")}/?$`),
}));

export function findRoute(path: string): Match {
  for (const { route, expression } of patterns) {
    const found = expression.exec(path);
    if (!found) continue;
    const params: Record<string, string> = {};
    try {
      for (const [name, value] of Object.entries(found.groups ?? {})) params[name] = decodeURIComponent(value);
    } catch {
      break; // a path that is not UTF-8 is nobody's
    }
    return { route, params };
  }
  return { route: notFound, params: {} };
}

/** Paths of pages, so that none is put together by hand. */
export const to = {
  feed: () => "/",
  tag: (tag: string) => `/tag/${encodeURIComponent(tag)}`,
  person: (id: string) => `/people/${encodeURIComponent(id)}`,
  post: (id: string) => `/p/${encodeURIComponent(id)}`,
  edit: (id: string) => `/p/${encodeURIComponent(id)}/edit`,
  write: () => "/write",
  logIn: (then?: string) => (then && then !== "/" ? `/log-in?then=${encodeURIComponent(then)}` : "/log-in"),
  register: (then?: string) => (then && then !== "/" ? `/register?then=${encodeURIComponent(then)}` : "/register"),
  playground: () => "/playground",
  keys: () => "/keys",
  account: () => "/account",
  moderation: () => "/moderation",
  users: () => "/admin/users",
  status: () => "/admin/status",
};
