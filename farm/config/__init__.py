"""Settings: one TOML file plus environment variables (`WANFARM_LEASE__SECONDS=45`, or a file: environment.py). A
process reads them once, at its start; nothing else looks at the environment. Every setting has a default, a unit and a
sentence.

Here are the whole and how it is read; the sections are in the files beside this one.
"""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from farm.config.batches import BatchSettings
from farm.config.burst import BurstSettings
from farm.config.environment import EnvironmentWithFiles
from farm.config.gateway import ConsoleSettings, GatewaySettings
from farm.config.inputs import IntakeSettings, LoraSettings
from farm.config.jobs import LeaseSettings, ModelDefaults, PoolSettings, PriceSettings, SchedulingSettings
from farm.config.observability import LogSettings, TracingSettings
from farm.config.outputs import DialectRetries, ProvenanceSettings, WebhookSettings
from farm.config.providers import (
    KeySettings,
    Name,
    ProviderHealthSettings,
    ProviderSettings,
    SecretSource,
    SoldModelSettings,
)
from farm.config.rendering import SpeedSettings, WorkerSettings
from farm.config.servers import (
    EmbeddedSettings,
    ExporterSettings,
    RedisSettings,
    S3Settings,
    SecretSettings,
    StorageSettings,
)

__all__ = [
    "CONFIG_ENV",
    "BatchSettings",
    "BurstSettings",
    "ConsoleSettings",
    "DialectRetries",
    "EmbeddedSettings",
    "ExporterSettings",
    "GatewaySettings",
    "IntakeSettings",
    "KeySettings",
    "LeaseSettings",
    "LogSettings",
    "LoraSettings",
    "ModelDefaults",
    "PoolSettings",
    "PriceSettings",
    "ProvenanceSettings",
    "ProviderHealthSettings",
    "ProviderSettings",
    "RedisSettings",
    "S3Settings",
    "SchedulingSettings",
    "SecretSettings",
    "SecretSource",
    "Settings",
    "SoldModelSettings",
    "SpeedSettings",
    "StorageSettings",
    "TracingSettings",
    "WebhookSettings",
    "WorkerSettings",
    "load",
]

#: the environment variable that names the TOML file
CONFIG_ENV = "WANFARM_CONFIG"


class Settings(BaseSettings):
    """All settings, from one TOML file and from environment variables (WANFARM_...)."""

    model_config = SettingsConfigDict(env_prefix="WANFARM_", env_nested_delimiter="__", extra="forbid", frozen=True)

    #: everything that must survive: Redis' append-only file, objects, logs, scratch
    state_dir: Path = Path(".wanfarm")
    redis: RedisSettings = Field(default_factory=RedisSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    lease: LeaseSettings = Field(default_factory=LeaseSettings)
    scheduling: SchedulingSettings = Field(default_factory=SchedulingSettings)
    batches: BatchSettings = Field(default_factory=BatchSettings)
    intake: IntakeSettings = Field(default_factory=IntakeSettings)
    loras: LoraSettings = Field(default_factory=LoraSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    speed: SpeedSettings = Field(default_factory=SpeedSettings)
    exporter: ExporterSettings = Field(default_factory=ExporterSettings)
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings)
    default_models: ModelDefaults = Field(default_factory=ModelDefaults)
    prices: PriceSettings = Field(default_factory=PriceSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    secrets: SecretSettings = Field(default_factory=SecretSettings)
    provenance: ProvenanceSettings = Field(default_factory=ProvenanceSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    pools: dict[str, PoolSettings] = Field(default_factory=dict)
    burst: BurstSettings = Field(default_factory=BurstSettings)
    providers: dict[Name, ProviderSettings] = Field(default_factory=dict)
    provider_health: ProviderHealthSettings = Field(default_factory=ProviderHealthSettings)

    @model_validator(mode="after")
    def _clocks_agree(self) -> Self:
        if self.lease.stuck_s < self.lease.seconds:
            raise ValueError("lease.stuck_s must not be shorter than lease.seconds")
        if taken := {"intake", "burst"} & {self.worker.pool, *self.pools}:
            raise ValueError(f'no pool may be called "{taken.pop()}": it is the farm\'s own')
        if self.lease.cancel_grace_s >= self.lease.stuck_s:
            raise ValueError("lease.cancel_grace_s must be shorter than lease.stuck_s")
        return self

    @property
    def models_dir(self) -> Path:
        """Holds a folder of weights per model."""
        return self.worker.models_dir or self.state_dir / "models"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order in which settings are found: arguments, environment, then the TOML file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, EnvironmentWithFiles(settings_cls))
        if path := os.environ.get(CONFIG_ENV):
            sources += (TomlConfigSettingsSource(settings_cls, Path(path)),)
        return sources


def load() -> Settings:
    """The settings of this process: environment over the file that WANFARM_CONFIG names over defaults."""
    return Settings()
