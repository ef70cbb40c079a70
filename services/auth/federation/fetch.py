"""Documents of a provider over HTTP: bounded in size and time, no redirects, only from where they may come."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import SecretStr

from services.auth.federation.faults import ProviderFault, is_error_code
from services.auth.federation.resolver import PublicResolver

ANSWER_BYTES_MAX = 256 * 1024  # documents of real providers have 1 to 10 KiB
CONNECTIONS_MAX = 8  # at once, to one provider
_OK = 200


class Fetcher:
    """Asks one provider. trusted: hosts that the operator named; timeout_s: of an answer as a whole."""

    def __init__(self, trusted: Collection[str], *, timeout_s: float) -> None:
        self._trusted, self._timeout = trusted, aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, what: str, *, bearer: str = "") -> dict[str, Any]:
        """A document. ProviderFault."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        return await self._json("GET", url, what, headers=headers)

    async def post(
        self, url: str, what: str, form: Mapping[str, str], *, basic: tuple[str, SecretStr] | None = None
    ) -> dict[str, Any]:
        """What a form is answered with. basic: a client's id and secret. ProviderFault."""
        headers = {}
        if basic is not None:
            # RFC 6749, section 2.3.1: each is encoded as a form is, before.
            pair = f"{quote(basic[0], safe='')}:{quote(basic[1].get_secret_value(), safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return await self._json("POST", url, what, headers=headers, form=form)

    async def close(self) -> None:
        """Closes its connections."""
        if self._session is not None:
            await self._session.close()

    async def _json(
        self, method: str, url: str, what: str, *, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        sent = {"accept": "application/json", "accept-encoding": "identity", **headers}
        try:
            async with self._opened().request(
                method, url, headers=sent, data=form, allow_redirects=False, timeout=self._timeout
            ) as response:
                data = await _bounded(response, what)
                status = response.status
        except TimeoutError:
            raise ProviderFault(f"its {what} took too long") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderFault(f"its {what} could not be asked: {type(error).__name__}") from None
        if status != _OK:
            raise ProviderFault(f"its {what} answered with {status}{_error_of(data)}")
        document = _document(data)
        if document is None:
            raise ProviderFault(f"its {what} answered with no JSON object")
        return document

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=PublicResolver(aiohttp.ThreadedResolver(), self._trusted), limit=CONNECTIONS_MAX
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                raise_for_status=False,
            )
        return self._session


async def _bounded(response: aiohttp.ClientResponse, what: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > ANSWER_BYTES_MAX:
            response.close()
            _too_large(what)
    return bytes(data)


def _too_large(what: str) -> NoReturn:
    raise ProviderFault(f"its {what} answered with more than {ANSWER_BYTES_MAX} bytes")


def _document(data: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _error_of(data: bytes) -> str:
    """The code of an error (RFC 6749, section 5.2), where it is one that cannot upset a log."""
    error = (_document(data) or {}).get("error")
    return f" ({error})" if isinstance(error, str) and is_error_code(error) else ""
