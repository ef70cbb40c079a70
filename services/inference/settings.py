"""What the inference service is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from services.inference.cache.options import CacheOptions
from services.inference.config import DEMO_TOKENS_PER_SECOND
from services.inference.examples.runner import RunnerOptions
from services.inference.ledger.settings import LedgerSettings
from services.inference.limits.settings import LimitSettings
from services.inference.providers.http import Timeouts
from services.inference.screening.options import ScreeningOptions
from services.mesh.sealing import Sealer, keys_of


def _provider_key_secret(value: SecretStr) -> SecretStr:
    keys_of(value)
    return value


ProviderKeySecret = Annotated[SecretStr, AfterValidator(_provider_key_secret)]


class InferenceSettings(LedgerSettings, LimitSettings):
    """`PROMPTMESH_…` variables of the inference service, beside those of the kit."""

    service: ClassVar[str] = "inference"

    # Configuration
    models_file: Path | None = None  # models.yaml, applied at the first start; None: what is found is offered
    config_poll_s: float = Field(default=0.25, gt=0)  # how often a process looks for a newer version, and for keys
    provider_key_secret: ProviderKeySecret | None = None  # encrypts stored keys of providers; None: none can be stored
    demo_tokens_per_second: float = Field(default=DEMO_TOKENS_PER_SECOND, ge=0)  # 0: at once

    # Calls of providers; models.yaml may say otherwise for a provider
    provider_connections_max: int = Field(default=1024, ge=1)  # at once, of a process, all providers together
    provider_connect_timeout_s: float = Field(default=5.0, gt=0)
    provider_first_token_timeout_s: float = Field(default=60.0, gt=0)
    provider_idle_timeout_s: float = Field(default=60.0, gt=0)
    provider_total_timeout_s: float = Field(default=600.0, gt=0)
    # The largest body that the edge lets through, 8 MiB, and what HttpBody puts around it: what is larger is refused
    # there, as a body that is too large, and not here, where gRPC refuses it with the status of a limit on rates.
    message_bytes_max: int = Field(default=8 * 1024 * 1024 + 64 * 1024, ge=1024)
    org_calls_max: int = Field(default=512, ge=1)  # of an organisation at once, in a process

    # Answers that are kept, of routes with a cache
    cache_memory_bytes_max: int = Field(default=64 * 1024 * 1024, ge=0)  # in this process
    cache_wait_ms: int = Field(default=120_000, ge=1)  # for another replica's identical call; then the call is made

    # Texts of calls, of routes with `moderation`
    screening_wait_ms: int = Field(default=5000, ge=1)  # for moderation; then the call ends in SCREENING_UNAVAILABLE
    screening_flush_ms: int = Field(default=500, ge=1)  # how long text of a stream waits for more
    screening_cleared_ttl_s: float = Field(
        default=60.0, ge=0
    )  # for which a caller's cleared text is remembered; 0: not
    screening_cleared_max: int = Field(default=20_000, ge=1)  # texts remembered, in a process
    screening_calls_max: int = Field(default=4, ge=1)  # of moderation, at once; examples have as many of their own

    # Examples of posts
    example_streams_max: int = Field(default=256, ge=1)  # at once, in a process
    example_output_tokens_max: int = Field(default=256, ge=1)
    example_timeout_s: float = Field(default=120.0, gt=0)  # of one call of the model
    example_attempts_max: int = Field(default=3, ge=1)  # of calls that a provider failed
    example_retry_first_s: float = Field(default=1.0, gt=0)
    example_retry_most_s: float = Field(default=30.0, gt=0)
    example_lease_s: float = Field(default=10.0, gt=1)  # after it the examples of a silent process go to others
    example_sweep_s: float = Field(default=1.0, gt=0)  # how often a process looks for orphaned and waiting ones
    example_retention_days: int = Field(default=30, ge=1)  # of rows of examples that are over
    screening_batch_ms: float = Field(default=5.0, ge=0)  # how long texts are collected for one call of moderation
    progress_flush_ms: float = Field(default=20.0, ge=0)  # how long cleared pieces are collected for one message
    finish_batch_ms: float = Field(default=5.0, ge=0)  # how long finished examples are collected for one commit

    @property
    def provider_key_sealer(self) -> Sealer | None:
        """Encrypts and opens stored keys; None where no secret is set."""
        return None if self.provider_key_secret is None else Sealer(keys_of(self.provider_key_secret))

    @property
    def screening_options(self) -> ScreeningOptions:
        """How texts of calls are screened on their way."""
        return ScreeningOptions(
            wait_ms=self.screening_wait_ms,
            calls_max=self.screening_calls_max,
            flush_ms=self.screening_flush_ms,
            cleared_ttl_s=self.screening_cleared_ttl_s,
            cleared_max=self.screening_cleared_max,
        )

    @property
    def cache_options(self) -> CacheOptions:
        """How answers are kept."""
        return CacheOptions(memory_bytes_max=self.cache_memory_bytes_max, wait_ms=self.cache_wait_ms)

    @property
    def provider_timeouts(self) -> Timeouts:
        """Of providers for which models.yaml says nothing else."""
        return Timeouts(
            connect_s=self.provider_connect_timeout_s,
            first_token_s=self.provider_first_token_timeout_s,
            idle_s=self.provider_idle_timeout_s,
            total_s=self.provider_total_timeout_s,
        )

    @property
    def runner_options(self) -> RunnerOptions:
        """How examples are run."""
        return RunnerOptions(
            streams_max=self.example_streams_max,
            output_tokens_max=self.example_output_tokens_max,
            attempts_max=self.example_attempts_max,
            retry_first_s=self.example_retry_first_s,
            retry_most_s=self.example_retry_most_s,
            sweep_s=self.example_sweep_s,
        )
