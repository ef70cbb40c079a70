// A real OpenID Connect provider for tests: the certified package `oidc-provider`, with its own log-in form.
//
// Prints one line of JSON, {"issuer": …}, once it listens, and ends with its input. Anybody logs in by any name:
// `ada` is ada@people.example, whose address is verified unless the name begins with `unproved`; `nobody` has none.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const KEYS = {
  RS256: ["rsa", { modulusLength: 2048 }],
  PS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
};

function jwk([algorithm, [type, options]]) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: "jwk" }), alg: algorithm, use: "sig", kid: algorithm };
}

function client(algorithm) {
  return {
    client_id: algorithm,
    client_secret: "a secret: with & signs%",
    id_token_signed_response_alg: algorithm,
    redirect_uris: ["https://mesh.example/log-in/callback"],
  };
}

function account(_context, id) {
  const email = id === "nobody" ? {} : { email: `${id}@people.example`, email_verified: !id.startsWith("unproved") };
  return { accountId: id, claims: () => ({ sub: id, name: `Person ${id}`, ...email }) };
}

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      ...Object.keys(KEYS).map(client),
      { ...client("RS256"), client_id: "public", client_secret: undefined, token_endpoint_auth_method: "none" },
      { ...client("RS256"), client_id: "post", token_endpoint_auth_method: "client_secret_post" },
    ],
    jwks: { keys: Object.entries(KEYS).map(jwk) },
    enabledJWA: { idTokenSigningAlgValues: Object.keys(KEYS) },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    cookies: { keys: ["of the tests"] },
    findAccount: account,
  });
  // The mesh's port is known only once it runs.
  provider.Client.prototype.redirectUriAllowed = (uri) => new URL(uri).pathname === "/log-in/callback";
  server.on("request", provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.on("end", () => process.exit(0)).resume();
