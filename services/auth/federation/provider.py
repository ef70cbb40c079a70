"""One provider: where the browser is sent, and who came back."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from services.auth.federation.config import ProviderConfig
from services.auth.federation.discovery import Discovery, trusted_hosts
from services.auth.federation.faults import ProviderFault, is_error_code
from services.auth.federation.id_tokens import Expected, verify
from services.auth.users import normal_email
from services.mesh.ids import SYSTEM_CLOCK, Clock

EMAIL_CHARS_MAX = 254
NAME_CHARS_MAX = 64  # as RegisterRequest has it
# As browsers and protovalidate's `email` have it (HTML, section 4.10.5.1.5), and a domain of at least two parts.
_EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
)


@dataclass(frozen=True, slots=True)
class OidcOptions:
    """timeout_s: of an answer; kept_s: how old documents may be; refetch_s: how often an unknown key is looked for."""

    timeout_s: float
    kept_s: float
    refetch_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the browser brought back, as it stood in the page's query."""

    code: str = field(repr=False)
    error: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as a provider knows them. email: normal, "" where it told none that can be used."""

    provider: str
    issuer: str
    subject: str
    email: str
    email_verified: bool
    name: str


class OidcProvider:
    """Talks with one provider."""

    def __init__(
        self, config: ProviderConfig, options: OidcOptions, redirect_uri: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        # The client of HTTP takes a tenth of auth's start to import: only where there is a provider to ask.
        from services.auth.federation.fetch import Fetcher

        self.config = config
        self._secret, self._redirect_uri, self._clock = config.secret(), redirect_uri, clock
        self._fetcher = Fetcher(trusted_hosts(config), timeout_s=options.timeout_s)
        self._discovery = Discovery(config, self._fetcher, clock, kept_s=options.kept_s, refetch_s=options.refetch_s)

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser. verifier: of PKCE. ProviderFault."""
        metadata = await self._discovery.metadata()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.config.client_id,
                "redirect_uri": self._redirect_uri,
                "scope": " ".join(self.config.scopes),
                "state": state,
                "nonce": nonce,
                "code_challenge": _s256(verifier),
                "code_challenge_method": "S256",
            }
        )
        return metadata.authorization + ("&" if "?" in metadata.authorization else "?") + query

    async def person(self, answer: Answer, *, verifier: str, nonce_digest: bytes) -> Person:
        """Who came back. ProviderFault."""
        metadata = await self._discovery.metadata()
        # First of all, so that no code goes to a provider that did not give it (RFC 9207).
        if (answer.issuer or metadata.says_issuer) and answer.issuer != self.config.issuer:
            raise ProviderFault("the answer is of another issuer, or does not say of which")
        if answer.error:
            raise ProviderFault(f"it refused: {answer.error if is_error_code(answer.error) else 'for no known reason'}")
        if not answer.code:
            raise ProviderFault("the answer has neither a code nor an error")
        tokens = await self._exchange(metadata.token, answer.code, verifier, basic=metadata.basic)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise ProviderFault("it gave no ID token")
        expected = Expected(
            issuer=self.config.issuer,
            client_id=self.config.client_id,
            nonce_digest=nonce_digest,
            algorithms=metadata.algorithms,
            access_token=access_token,
            now=self._clock.time(),
        )
        claims = await verify(id_token, expected, self._discovery.key)
        if "email" not in claims and metadata.userinfo and access_token:
            more = await self._fetcher.get(metadata.userinfo, "UserInfo", bearer=access_token)
            if more.get("sub") != claims["sub"]:  # OpenID Connect Core 1.0, section 5.3.2
                raise ProviderFault("its UserInfo is of somebody else")
            claims = {**more, **claims}
        return person_of(self.config, claims)

    async def close(self) -> None:
        """Closes its connections."""
        await self._fetcher.close()

    async def _exchange(self, url: str, code: str, verifier: str, *, basic: bool) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        if self._secret is not None and basic:
            return await self._fetcher.post(url, "token endpoint", form, basic=(self.config.client_id, self._secret))
        form["client_id"] = self.config.client_id
        if self._secret is not None:
            form["client_secret"] = self._secret.get_secret_value()
        return await self._fetcher.post(url, "token endpoint", form)


def person_of(config: ProviderConfig, claims: dict[str, Any]) -> Person:
    """Whom verified claims are about."""
    email = claims.get("email")
    normal = normal_email(email) if isinstance(email, str) and len(email) <= EMAIL_CHARS_MAX else ""
    if not _EMAIL.fullmatch(normal):
        normal = ""
    # Some providers write the truth value as a word.
    said = claims.get("email_verified")
    verified = bool(normal) and (said is True or said == "true")
    return Person(config.provider, config.issuer, claims["sub"], normal, verified, _name(claims, normal))


def _name(claims: dict[str, Any], email: str) -> str:
    """A name as one line of visible characters; the address's first part where the provider told none."""
    for claim in ("name", "preferred_username", "nickname"):
        value = claims.get(claim)
        if isinstance(value, str):
            text = unicodedata.normalize("NFC", value[: 4 * NAME_CHARS_MAX])
            shown = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in text)
            name = " ".join(shown.split())[:NAME_CHARS_MAX].strip()
            if name:
                return name
    return email.partition("@")[0][:NAME_CHARS_MAX]


def _s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
