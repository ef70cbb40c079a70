/* A link that is good no more: used, too old, or replaced by a newer one. */
import { PromptmeshError } from "@promptmesh/client";
import type { ComponentChildren } from "preact";

export const linkOver = (error: unknown): boolean => error instanceof PromptmeshError && error.reason === "LINK_INVALID";

export const AnotherLink = ({ children }: { children: ComponentChildren }) => <div class="row">{children}</div>;
