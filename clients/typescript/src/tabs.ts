/** What the tabs of one origin share: one renews at a time (a refresh token is good for one call), all learn of it. */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { SessionSchema, type Session } from "./gen/promptmesh/auth/v1/auth_pb.js";

export interface Tabs {
  /** Runs `work` while no other tab runs its own. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
  /** Tells the other tabs of new tokens; undefined: logged out. */
  tell(tokens: Session | undefined): void;
  close(): void;
}

/** `hear` is called with what other tabs tell. Browsers without locks or channels: each tab is alone. */
export function openTabs(baseUrl: string, hear: (tokens: Session | undefined) => void): Tabs {
  const name = `promptmesh-session ${baseUrl}`;
  const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(name);
  // In Node an open channel would keep the process from ending.
  (channel as { unref?: () => void } | undefined)?.unref?.();
  if (channel) {
    channel.onmessage = ({ data }: MessageEvent<Uint8Array | null>) =>
      hear(data === null ? undefined : fromBinary(SessionSchema, data));
  }
  return {
    exclusively: async (work) => await (globalThis.navigator?.locks ? navigator.locks.request(name, work) : work()),
    tell: (tokens) => channel?.postMessage(tokens ? toBinary(SessionSchema, tokens) : null),
    close: () => channel?.close(),
  };
}
