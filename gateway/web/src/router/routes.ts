/* Every page of the app: its path, who may see it, and the code that shows it, which is loaded when it is needed.
   The paths stand in a file of their own, for the edge serves the app at these and no others (gateway/web_app.py). */
import type { ComponentType } from "preact";
import paths from "./paths.json";

/** `session`: log in first. A role: for who has it. */
export type Access = "anyone" | "session" | "moderator" | "auditor" | "admin";

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

const page = (name: keyof typeof paths, load: Route["load"], access: Access = "anyone"): Route => ({
  name,
  path: paths[name],
  access,
  load,
});

export const routes: Route[] = [
  page("feed", () => import("../pages/feed/Feed")),
  page("tag", () => import("../pages/feed/Feed")),
  page("log-in", () => import("../pages/log-in/LogIn")),
  page("register", () => import("../pages/register/Register")),
  page("profile", () => import("../pages/profile/Profile")),
  page("post", () => import("../pages/post/Post")),
  page("edit", () => import("../pages/edit/Edit"), "session"),
  page("write", () => import("../pages/write/Write"), "session"),
  page("playground", () => import("../pages/playground/Playground"), "session"),
  page("keys", () => import("../pages/keys/Keys"), "session"),
  page("account", () => import("../pages/account/Account"), "session"),
  page("moderation", () => import("../pages/moderation/Moderation"), "moderator"),
  page("users", () => import("../pages/admin-users/Users"), "admin"),
  page("status", () => import("../pages/admin-status/Status"), "admin"),
  page("log-in-callback", () => import("../pages/log-in/Callback")),
  page("forgot-password", () => import("../pages/links/ForgotPassword")),
  page("reset-password", () => import("../pages/links/ResetPassword")),
  page("verify-email", () => import("../pages/links/VerifyEmail")),
  page("confirm-email", () => import("../pages/links/ConfirmEmail")),
  page("invitation", () => import("../pages/links/Invitation")),
  page("team", () => import("../pages/team/Team"), "session"),
  page("usage", () => import("../pages/usage/UsagePage"), "session"),
  page("audit", () => import("../pages/admin-audit/Audit"), "auditor"),
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
  /** With a post's id: that post's prompt stands in it. */
  playground: (post?: string) => (post ? `/playground?post=${encodeURIComponent(post)}` : "/playground"),
  keys: () => "/keys",
  /** Those of a service account. */
  keysOf: (id: string) => `/keys?of=${encodeURIComponent(id)}`,
  account: () => "/account",
  moderation: () => "/moderation",
  users: () => "/admin/users",
  status: () => "/admin/status",
  audit: () => "/admin/audit",
  forgotPassword: () => "/forgot-password",
  team: () => "/team",
  usage: () => "/usage",
};
