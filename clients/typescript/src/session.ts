/** A person's session: who is logged in, and an access token that is always fresh. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createServiceClient, type ServiceClient } from "./calls.js";
import { connectionFailed, PromptmeshError, sessionStaysOpen } from "./errors.js";
import {
  AuthService,
  type SecondFactorChallenge,
  type Session as Tokens,
  type User,
} from "./gen/promptmesh/auth/v1/auth_pb.js";
import type { FactorService, ProofSchema } from "./gen/promptmesh/auth/v1/factors_pb.js";
import type { FederationService, LinkedIdentity } from "./gen/promptmesh/auth/v1/federation_pb.js";
import type { OrganisationService } from "./gen/promptmesh/auth/v1/organisations_pb.js";
import { getPasskey } from "./passkeys.js";
import { createMeshTransport, type Credentials, type Transport } from "./transport.js";
import { openTabs, type Tabs } from "./tabs.js";

/** An access token is renewed so long before it ends. */
export const RENEW_BEFORE_MS = 30_000;
/** What proves who somebody is: `{ case: "totpCode", value: "123456" }`; also `recoveryCode`, `passkey`, `password`. */
export type ProofInit = NonNullable<MessageInitShape<typeof ProofSchema>["proof"]>;

/** Asks a person to prove anew who they are (`Session.confirm`); answers whether they did. */
export type StepUp = () => Promise<boolean>;

/** Thrown by `logIn`: the password was right, and a second factor guards the account. Nobody is logged in yet. */
export class SecondFactorRequired extends Error {
  override name = "SecondFactorRequired";
  /** Which factors there are, until when, and how a passkey is asked. */
  readonly challenge: SecondFactorChallenge;
  readonly #complete: (proof: ProofInit) => Promise<User>;

  constructor(challenge: SecondFactorChallenge, complete: (proof: ProofInit) => Promise<User>) {
    super("The account has a second factor: prove it with `complete`.");
    this.challenge = challenge;
    this.#complete = complete;
  }

  /** Ends the log-in. PROOF_WRONG: it can be tried again; LINK_INVALID: the log-in is over and has to be begun anew. */
  complete(proof: ProofInit): Promise<User> {
    return this.#complete(proof);
  }

  /** The same with a passkey of this browser. Rejects with the browser's DOMException where the person gives up. */
  async completeWithPasskey(): Promise<User> {
    return this.#complete({ case: "passkey", value: await getPasskey(this.challenge.passkeyOptions) });
  }
}

/** What the page got from an identity provider, by its query (RFC 6749, RFC 9207). */
export interface ProviderAnswer {
  readonly state: string;
  readonly code?: string;
  readonly error?: string;
  readonly issuer?: string;
}

/** What came of a log-in by an identity provider; one of the three. */
export interface ProviderLogIn {
  readonly user?: User;
  /** An account has the address: log in to it, then call `federation.linkIdentity` with this. */
  readonly linkToken?: string;
  /** Somebody was logged in already, and has one more way in now. */
  readonly linked?: LinkedIdentity;
}

/** Clients that are made when they are first needed. */
interface Seldom {
  readonly factors: ServiceClient<typeof FactorService>;
  readonly federation: ServiceClient<typeof FederationService>;
  readonly organisations: ServiceClient<typeof OrganisationService>;
}

/** Required wherever the cookie is set or used: other sites cannot make a browser send it. */
const CSRF_HEADER = { "x-csrf-protection": "1" };

/** `unknown` until `restore`, `logIn` or `register` said more. */
export type SessionState = "unknown" | "signed-in" | "signed-out";

export interface SessionOptions {
  /** Address of the edge; empty: the page's own origin. */
  readonly baseUrl: string;
  readonly fetch?: typeof globalThis.fetch;
  readonly timeoutMs?: number;
  /**
   * Where the refresh token is: in an HttpOnly cookie, which scripts cannot read and which outlives the page, or in
   * memory alone. Default: `cookie` in a browser, `memory` elsewhere.
   */
  readonly keep?: "cookie" | "memory";
  /** Called, once for all calls that wait, where a call wants a newer proof; they are repeated if it answers true. */
  readonly onStepUp?: StepUp;
}

interface Access {
  readonly token: string;
  /** When to renew it, by this machine's clock (`Date.now`). */
  readonly renewAt: number;
  readonly sessionId: string;
  readonly orgId: string;
  /** When the mesh lets it end, in milliseconds of the mesh's clock: tells which of two is newer. */
  readonly expireAt: number;
  /** When the session itself ends unless it is renewed, by the same clock; 0 where it was not said. */
  readonly sessionExpireAt: number;
}

/**
 * The access token is in memory only. Tabs of one origin share the session: one renews for all of them, and logging in
 * or out in one is seen in all.
 */
export class Session implements Credentials {
  readonly #auth: ServiceClient<typeof AuthService>;
  readonly #transport: Transport;
  readonly #cookie: boolean;
  readonly #tabs: Tabs | undefined;
  readonly #listeners = new Set<(session: Session) => void>();
  #state: SessionState = "unknown";
  #user: User | undefined;
  #access: Access | undefined;
  #refreshToken = "";
  #renewing: Promise<string | undefined> | undefined;
  #steppingUp: Promise<boolean> | undefined;
  /** Counts what replaced the session, so that a renewal that comes late does not bring an old one back. */
  #changes = 0;
  /** As in SessionOptions; can be set later, when there is a page that asks. */
  onStepUp: StepUp | undefined;

  constructor(options: SessionOptions) {
    this.#transport = createMeshTransport(options);
    this.#auth = createServiceClient(AuthService, this.#transport);
    this.onStepUp = options.onStepUp;
    this.#cookie = (options.keep ?? (typeof document === "undefined" ? "memory" : "cookie")) === "cookie";
    if (this.#cookie) this.#tabs = openTabs(options.baseUrl, (tokens) => this.#hear(tokens));
  }

  /** Who is logged in. */
  get user(): User | undefined {
    return this.#user;
  }

  /** The organisation that calls act for; empty: nobody is logged in. */
  get orgId(): string {
    return this.#access?.orgId ?? "";
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Calls back after every change of `user` or `state`; answers the function that ends it. */
  subscribe(listener: (session: Session) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Registers a person and logs them in. */
  async register(email: string, password: string, displayName: string): Promise<User> {
    await this.#auth.register({ email, password, displayName });
    return this.logIn(email, password);
  }

  /**
   * Logs in. Fails with LOGIN_FAILED where e-mail or password is wrong, and throws SecondFactorRequired where a second
   * factor has to be proved: catch it and `complete` it.
   */
  async logIn(email: string, password: string): Promise<User> {
    const request = { email, password, cookie: this.#cookie };
    const options = { headers: this.#headers() };
    // In its turn: a renewal under way would put its own cookie over the new one.
    const tokens = await this.#alone(() => this.#auth.createSession(request, options));
    return this.#loggedIn(tokens);
  }

  /** Logs in with a passkey of this browser alone. Rejects with its DOMException where the person gives up. */
  async logInWithPasskey(): Promise<User> {
    const { factors } = await this.#seldom();
    const { options, challengeToken } = await factors.beginPasskeyProof({});
    return this.#complete(challengeToken, { case: "passkey", value: await getPasskey(options) });
  }

  /** Where to send the browser for a log-in by an identity provider, or, where somebody is logged in, to link theirs. */
  async beginProviderLogIn(provider: string): Promise<string> {
    const { federation } = await this.#seldom();
    const headers = { ...(await this.#own()), ...this.#headers() };
    return (await federation.beginFederatedLogin({ provider }, { headers })).authorizationUrl;
  }

  /** Takes the provider's answer. Throws SecondFactorRequired as `logIn` does. LINK_INVALID, IDENTITY_PROVIDER_FAILED. */
  async completeProviderLogIn(answer: ProviderAnswer): Promise<ProviderLogIn> {
    const { federation } = await this.#seldom();
    const headers = { ...(await this.#own()), ...this.#headers() };
    const request = { ...answer, cookie: this.#cookie };
    const { result } = await this.#alone(() => federation.completeFederatedLogin(request, { headers }));
    if (result.case === "session") return { user: this.#loggedIn(result.value) };
    if (result.case === "linkToken") return { linkToken: result.value };
    return result.case === "linked" ? { linked: result.value } : {};
  }

  /** Makes the session act for another of the person's organisations, in all tabs. */
  async switchOrganisation(orgId: string): Promise<void> {
    const { organisations } = await this.#seldom();
    await this.#renewing?.catch(() => {});
    const headers = await this.#own();
    const tokens = await this.#alone(() => organisations.switchOrganisation({ orgId }, { headers }));
    this.#take(tokens, this.#refreshToken);
    this.#tabs?.tell(tokens);
  }

  /** Reads anew who is logged in, after they changed something about themselves. */
  async reload(): Promise<void> {
    const before = this.#changes;
    const user = await this.#auth.getMe({}, { headers: await this.#own() });
    if (this.#changes !== before || this.#user?.userId !== user.userId) return;
    this.#user = user;
    this.#changed();
  }

  /**
   * Proves anew who is logged in, for calls that ask for it (STEP_UP_REQUIRED). Fails with PROOF_WRONG; too many wrong
   * proofs end the session. `challengeToken`: of BeginPasskeyProof, with a passkey alone.
   */
  async confirm(proof: ProofInit, challengeToken = ""): Promise<void> {
    const { factors } = await this.#seldom();
    // Not beside a renewal, whose refresh token must not be lost.
    await this.#renewing?.catch(() => {});
    const headers = await this.#own();
    const tokens = await this.#alone(() => factors.confirmSession({ proof: { proof }, challengeToken }, { headers }));
    this.#take(tokens, this.#refreshToken); // which stays
    this.#tabs?.tell(tokens);
  }

  /** The same with a passkey of this browser. */
  async confirmWithPasskey(): Promise<void> {
    const { factors } = await this.#seldom();
    const { options, challengeToken } = await factors.beginPasskeyProof({}, { headers: await this.#own() });
    await this.confirm({ case: "passkey", value: await getPasskey(options) }, challengeToken);
  }

  /** Asks for a proof, once for all calls that want one at a time. */
  async stepUp(): Promise<boolean> {
    const { onStepUp } = this;
    if (onStepUp === undefined || this.#access === undefined) return false;
    this.#steppingUp ??= onStepUp().finally(() => (this.#steppingUp = undefined));
    return this.#steppingUp;
  }

  /**
   * Takes up the session that the cookie keeps, after a page was loaded anew. Answers who is logged in; undefined:
   * nobody. Throws where the mesh cannot be asked: then nothing is known, and it can be called again.
   */
  async restore(): Promise<User | undefined> {
    if (this.#state !== "signed-in") await this.#renew(undefined);
    return this.#user;
  }

  /**
   * Ends the session here, in all tabs and at the mesh. Throws, and stays logged in, where the mesh cannot be asked.
   * Where the access token was refused and no other could be had for the cookie, it throws with the reason
   * SESSION_STAYS_OPEN: nobody is logged in here any more, but what holds the cookie still can be.
   */
  async logOut(): Promise<void> {
    // A session that only the cookie knows of yet is to end as well.
    const token = (await this.token()) ?? (this.#cookie ? await this.#renew(undefined) : undefined);
    const until = this.#access?.sessionExpireAt;
    let open: PromptmeshError | undefined;
    // Whoever's token is refused may have a session yet: the cookie lives longer than any access token.
    if (token !== undefined && !(await this.#ended(token)) && this.#cookie) {
      try {
        const renewed = await this.#renew(token);
        if (renewed !== undefined && !(await this.#ended(renewed))) open = sessionStaysOpen(until);
      } catch (error) {
        open = sessionStaysOpen(until, error);
      }
    }
    this.#forget();
    this.#tabs?.tell(undefined);
    if (open) throw open;
  }

  /** Ends the session whose access token it is, and the cookie's; false: the mesh does not take the token. */
  async #ended(token: string): Promise<boolean> {
    const headers = { authorization: `Bearer ${token}`, ...this.#headers() };
    try {
      await this.#alone(() => this.#auth.deleteSession({}, { headers }));
      return true;
    } catch (error) {
      if (!isUnauthenticated(error)) throw error;
      return false;
    }
  }

  /** The access token for a call; renewed before it ends. Undefined: nobody is logged in. */
  async token(): Promise<string | undefined> {
    if (this.#access === undefined) return this.#renewing;
    if (Date.now() < this.#access.renewAt) return this.#access.token;
    try {
      return await this.#renew(this.#access.token);
    } catch (error) {
      // The mesh cannot be asked; what we have may still do, and if not, the call itself says so.
      if (this.#access) return this.#access.token;
      throw error;
    }
  }

  /** Another access token after the mesh refused `rejected`. */
  renew(rejected: string): Promise<string | undefined> {
    return this.#renew(rejected);
  }

  /** Stops listening to other tabs. The session stays. */
  close(): void {
    this.#tabs?.close();
  }

  #renew(stale: string | undefined): Promise<string | undefined> {
    this.#renewing ??= this.#renewOnce(stale).finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  /** Runs what changes the cookie while no other tab does. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#tabs ? this.#tabs.exclusively(work) : work();
  }

  /** Of calls that set or use the cookie. */
  #headers(): Record<string, string> {
    return this.#cookie ? CSRF_HEADER : {};
  }

  /** The session's own credential; without one the mesh refuses the call. */
  async #own(): Promise<Record<string, string>> {
    const token = await this.token();
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  async #complete(challengeToken: string, proof: ProofInit): Promise<User> {
    const { factors } = await this.#seldom();
    const request = { challengeToken, proof: { proof }, cookie: this.#cookie };
    const options = { headers: this.#headers() };
    return this.#opened(await this.#alone(() => factors.completeSession(request, options)));
  }

  /** Loaded apart: who calls models, or only reads the feed, does not need their contracts. */
  async #seldom(): Promise<Seldom> {
    let services: typeof import("./session_services.js");
    try {
      services = await import("./session_services.js");
    } catch (caught) {
      throw connectionFailed("", caught);
    }
    const { FactorService, FederationService, OrganisationService } = services;
    return {
      factors: createServiceClient(FactorService, this.#transport),
      federation: createServiceClient(FederationService, this.#transport),
      organisations: createServiceClient(OrganisationService, this.#transport),
    };
  }

  /** Throws SecondFactorRequired where more is to be proved. */
  #loggedIn(tokens: Tokens): User {
    const { challenge } = tokens;
    if (challenge) {
      throw new SecondFactorRequired(challenge, (proof) => this.#complete(challenge.challengeToken, proof));
    }
    return this.#opened(tokens);
  }

  #opened(tokens: Tokens): User {
    this.#take(tokens);
    this.#tabs?.tell(tokens);
    return this.#user as User;
  }

  #renewOnce(stale: string | undefined): Promise<string | undefined> {
    return this.#alone(async () => {
      // Another tab may have renewed while this one waited for its turn.
      if (this.#access && this.#access.token !== stale) return this.#access.token;
      if (!this.#cookie && this.#refreshToken === "") {
        this.#forget();
        return undefined;
      }
      const before = this.#changes;
      try {
        const tokens = await this.#auth.refreshSession(
          { refreshToken: this.#refreshToken },
          { headers: this.#headers() },
        );
        if (this.#changes !== before) return this.#access?.token;
        this.#take(tokens);
        this.#tabs?.tell(tokens);
        return tokens.accessToken;
      } catch (error) {
        if (!isUnauthenticated(error)) throw error;
        if (this.#changes !== before) return this.#access?.token;
        const knew = this.#state === "signed-in";
        this.#forget();
        if (knew) this.#tabs?.tell(undefined);
        return undefined;
      }
    });
  }

  /** What another tab tells; it may have waited on its way while this tab got something newer. */
  #hear(tokens: Tokens | undefined): void {
    const own = this.#access;
    if (tokens === undefined) this.#forget();
    else if (own?.sessionId !== tokens.sessionId || own.expireAt < expireAt(tokens)) this.#take(tokens);
  }

  #take(tokens: Tokens, refreshToken = tokens.refreshToken): void {
    this.#changes++;
    const lifetimeMs = lifetime(tokens);
    const renewInMs = Math.max(lifetimeMs / 2, lifetimeMs - RENEW_BEFORE_MS);
    const { accessToken: token, sessionId } = tokens;
    const sessionExpireAt = milliseconds(tokens.refreshExpireTime);
    const orgId = tokens.orgId || (tokens.user?.orgId ?? "");
    this.#access = { token, renewAt: Date.now() + renewInMs, sessionId, orgId, expireAt: expireAt(tokens), sessionExpireAt };
    this.#refreshToken = refreshToken;
    this.#user = tokens.user;
    this.#state = "signed-in";
    this.#changed();
  }

  #forget(): void {
    this.#changes++;
    const changed = this.#state !== "signed-out";
    this.#access = undefined;
    this.#refreshToken = "";
    this.#user = undefined;
    this.#state = "signed-out";
    if (changed) this.#changed();
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener(this);
  }
}

function isUnauthenticated(error: unknown): boolean {
  return error instanceof PromptmeshError && error.code === "UNAUTHENTICATED";
}

/** How long the token lives, from its own claims: the clock of this machine may be wrong by hours. */
function lifetime(tokens: Tokens): number {
  try {
    const payload = (tokens.accessToken.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { iat, exp } = JSON.parse(atob(payload)) as { iat?: number; exp?: number };
    if (typeof iat === "number" && typeof exp === "number") return (exp - iat) * 1000;
  } catch {
    // Not a JWT; the answer's time must do.
  }
  return expireAt(tokens) - Date.now();
}

const expireAt = ({ accessExpireTime }: Tokens): number => milliseconds(accessExpireTime);

const milliseconds = (time: Tokens["accessExpireTime"]): number =>
  time ? Number(time.seconds) * 1000 + time.nanos / 1e6 : 0;
