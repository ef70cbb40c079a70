"""The service of auth with mail, for the tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from tests.integration.auth.accounts.mailbox import Mailbox, running_mailbox
from tests.integration.auth.accounts.world import Person
from tests.integration.auth.world import Place
from tests.integration.support.service_process import ServiceProcess


def smtp(mailbox: Mailbox) -> dict[str, object]:
    """Settings that send there."""
    return {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": mailbox.port, "SMTP_TLS": "none", "MAIL_RETRY_S": 0.2}


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    """Where mails go."""
    with running_mailbox(tmp_path_factory.mktemp("mail")) as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def service(place: Place, mailbox: Mailbox) -> Iterator[ServiceProcess]:
    """The service, with mail."""
    with place.running(**smtp(mailbox)) as process:
        yield process


@pytest.fixture(scope="module")
def strict(place: Place, mailbox: Mailbox) -> Iterator[ServiceProcess]:
    """One that wants addresses to be proved, over the same database."""
    with place.running(**smtp(mailbox), EMAIL_VERIFICATION="required", WORKER="strict-0") as process:
        yield process


@pytest.fixture
async def nobody(service: ServiceProcess) -> AsyncIterator[Person]:
    """Without a credential."""
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield Person(channel)


@pytest.fixture
async def stranger(strict: ServiceProcess) -> AsyncIterator[Person]:
    """Without a credential, where addresses are to be proved."""
    async with grpc.aio.insecure_channel(strict.target) as channel:
        yield Person(channel)
