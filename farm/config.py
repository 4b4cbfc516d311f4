"""Settings: one TOML file plus environment variables (`WANFARM_LEASE__SECONDS=45`). Read once, by whoever starts
a process; nobody else looks at the environment. Every setting has a default, a unit and a sentence."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from models.provenance.signing import SigningPolicy

#: the environment variable that names the TOML file
CONFIG_ENV = "WANFARM_CONFIG"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RedisSettings(Section):
    """Ledger and broker use separate databases (separate instances when they grow)."""

    ledger_url: str = "redis://127.0.0.1:6379/0"
    broker_url: str = "redis://127.0.0.1:6379/1"
    #: seconds before a call to a silent Redis fails
    socket_timeout_s: float = 5.0
    connect_timeout_s: float = 3.0
    #: keys of several farms can share a database
    prefix: str = "wf"
    #: replicas + local AOF acknowledged before an admission or commit is answered, where the server has WAITAOF
    waitaof: bool = True


class S3Settings(Section):
    endpoint: str = "127.0.0.1:9000"
    #: the address that clients reach; signatures cover it. Default: endpoint
    public_endpoint: str | None = None
    access_key: str = "wanfarm"
    secret_key: str = "wanfarm-secret"  # noqa: S105 - the embedded server's, replaced by `wanfarm up`
    bucket: str = "wanfarm"
    #: where the server keeps its objects as files, if that is on this machine: each is synced to disk before it counts
    #: as stored. `wanfarm up` sets it for its own server, which never syncs
    folder: Path | None = None
    region: str = "us-east-1"
    secure: bool = False
    public_secure: bool | None = None
    #: life of a presigned result URL
    url_ttl_s: int = 3600
    #: the same in the provider dialects and in webhooks, whose readers may come late
    provider_url_ttl_s: int = 86400
    #: life of a presigned upload URL
    upload_ttl_s: int = 900


class StorageSettings(Section):
    """What may be stored. A tenant over its bytes, and everybody below the floor, gets the reason instead."""

    #: bytes of one tenant's inputs, uploads and results
    max_bytes_per_tenant: int = Field(default=200 * 1024**3, ge=1)
    #: bytes that stay free on the disk of state_dir, for what is under way and for Redis
    min_free_bytes: int = Field(default=1024**3, ge=0)


class GatewaySettings(Section):
    host: str = "127.0.0.1"
    #: 0 takes a free port
    port: int = 0
    processes: int = 2
    threads: int = 24
    #: server-sent-event streams at once in one process; more get 503
    max_streams: int = 16
    #: of them, for one tenant; more get 429
    max_streams_each: int = 8
    #: files at once that one process hands through (OpenAI's dialect); one tenant may have half of them
    max_downloads: int = 16
    #: bytes of a request body; more is 413
    max_body: int = 32 * 1024 * 1024
    #: bytes of bodies that one process holds at once; one address may have half of them
    max_buffered: int = 256 * 1024 * 1024
    #: connections of one process, and of one address in it: the oldest that still waits for its client goes first
    max_connections: int = Field(default=4096, ge=1)
    connections_per_address: int = Field(default=256, ge=1)
    #: networks (CIDR) of proxies in front: connections from there are not counted by address
    proxies: tuple[str, ...] = ()
    #: seconds, in total: to send a request's header, to send its body, between an answer and the next whole header, and
    #: to go on sending a body that was refused
    header_s: float = Field(default=10.0, gt=0)
    body_s: float = Field(default=60.0, gt=0)
    keepalive_s: float = Field(default=30.0, gt=0)
    linger_s: float = Field(default=3.0, gt=0)
    #: the address in links, when it is not the one bound (a proxy in front)
    public_url: str | None = None
    #: seconds that a key, once seen valid, is trusted without asking Redis
    key_cache_s: float = 10.0
    #: whether /metrics answers without an admin key (a Prometheus on a network that tenants do not reach)
    open_metrics: bool = False


class LeaseSettings(Section):
    """Three clocks watch an attempt: heartbeat (process gone), progress (stuck), wall time (runaway)."""

    #: an attempt's right to write ends this long after its last heartbeat; the agent beats at a third of it
    seconds: float = 45.0
    #: no progress for this long: the engine is stuck, it is killed and the attempt fails
    stuck_s: float = 600.0
    #: a render may take this many times its predicted seconds, and never less than wall_min_s
    wall_factor: float = 10.0
    wall_min_s: float = 1800.0
    max_attempts: int = 3
    #: attempts that may take their worker down before the job is called poisonous
    poison_losses: int = 2
    #: first retry after this long, then doubled
    backoff_s: float = 2.0
    backoff_max_s: float = 300.0
    #: a cancelled engine has this long to stop before it is killed
    cancel_grace_s: float = 30.0


class SchedulingSettings(Section):
    #: within a tenant, the loaded lane may be preferred among this many of the first jobs
    affinity_window: int = 16
    #: and a job may be passed over this many times
    affinity_passes: int = 4
    #: a job that failed on one worker is left to the pool's other live workers for this long
    elsewhere_s: float = 600.0
    #: an unclaimed permit is replaced after this long
    permit_ttl_s: float = 10.0
    #: how often beat reaps and audits
    reap_every_s: float = 2.0
    audit_every_s: float = 30.0
    #: first guess of a pool's speed until it is measured, TFLOP/s
    assumed_tflops: float = 300.0
    #: jobs of one tenant that are not over, where the tenant has no limit of its own
    max_open: int = Field(default=20_000, ge=1)
    #: finished jobs are kept this long
    retention_s: float = 30 * 86400.0
    #: how often beat removes what is older, and objects that no job points to
    forget_every_s: float = 600.0


class IntakeSettings(Section):
    """What may come in. Limits are checked while reading, never after."""

    #: networks (CIDR) that inputs may be fetched from and webhooks sent to although they are not public
    allow_networks: tuple[str, ...] = ()
    connect_s: float = 3.0
    read_s: float = 10.0
    total_s: float = 20.0
    #: all inputs of one job together, tries and pauses included, in the io worker
    job_s: float = Field(default=60.0, gt=0)
    max_redirects: int = 3
    max_image_bytes: int = 20 * 1024 * 1024
    max_video_bytes: int = 200 * 1024 * 1024
    max_audio_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    max_clip_s: float = 120.0
    #: files decoded at once in one gateway process, each in a child; one tenant may have half. More get 429
    sync_decodes: int = Field(default=8, ge=1)
    #: synchronous fetches at once in one gateway process, of one tenant half; more jobs become `waiting`
    sync_fetches: int = 8
    #: how often the io worker asks an address whose trouble may pass, and how long it waits after the first time
    fetch_tries: int = 3
    fetch_pause_s: float = 1.0
    #: a job whose address is still in passing trouble then (no answer, a server error) waits and is tried again, later
    #: and later, for about this long: an uplink that is away for a moment fails nobody. 0: it fails at once
    outage_s: float = Field(default=300.0, ge=0)


class LoraSettings(Section):
    """LoRAs that tenants upload. What a deleted one takes counts until its last open job is over."""

    #: bytes of one file
    max_bytes: int = 2 * 1024**3
    #: of one tenant: files, and bytes of all of them
    max_count: int = 200
    max_total_bytes: int = 100 * 1024**3
    #: that one job may have
    max_per_job: int = 4
    #: files looked at by one gateway process at once: each is read whole, and goes through without being kept
    checks: int = Field(default=2, ge=1)


class SpeedSettings(Section):
    """What makes renders fast. "auto" is what is right for the device; what was done is in every recipe."""

    #: "auto", or one of diffusers' attention backends that is installed on the worker
    attention: str = "auto"
    #: compile the transformers' blocks: seconds at the first job of each shape, kept on disk after that
    compile: Literal["auto", "on", "off"] = "auto"
    fuse_qkv: Literal["auto", "on", "off"] = "auto"
    #: the VAE's numbers: "auto" is bf16 on a GPU that computes in it
    vae: Literal["auto", "fp32", "bf16"] = "auto"
    #: the guided and the unguided pass of a step as one batch: "auto" for renders so small that one leaves a GPU idle
    batched_guidance: Literal["auto", "on", "off"] = "auto"
    #: rendered at the start, before the first job: "MODEL WIDTHxHEIGHTxFRAMES"
    warm: tuple[Annotated[str, Field(pattern=r"^\S+ \d+x\d+x\d+$")], ...] = ()
    #: seconds that a starting engine may take besides, for each of them
    warm_s: float = 600.0


class WorkerSettings(Section):
    pool: str = "default"
    #: folder with one folder of weights per model id
    models_dir: Path | None = None
    #: which models this machine offers; empty: all whose weights are there, and the tiny ones when there is no GPU
    models: tuple[str, ...] = ()
    #: "auto" takes every GPU that NVML shows, else one CPU worker; or "cpu", "cpu:2", "0,1"
    devices: str = "auto"
    #: seconds that a starting engine may take to say that it is ready
    engine_start_s: float = 180.0
    #: GB of each GPU's memory that an engine may plan with; None: all that is free when a job comes
    gpu_memory_gb: float | None = None
    #: GB of the machine's own memory that an engine may plan with, when parts of a model wait there; None: all that is
    #: free when a job comes (a container with a limit of its own should say it)
    host_memory_gb: float | None = None
    #: whether weights may be rounded to 8 bits for a job that fits in no other way (its recipe says so)
    fp8_to_fit: bool = False
    #: GB of tenants' LoRAs kept on this machine's disk (state_dir/loras), for all of its agents; the oldest go first
    lora_cache_gb: float = Field(default=50.0, gt=0)
    #: the module that is run as the engine (tests put one in its place that hangs, dies or disobeys)
    engine: str = "farm.engine.child"
    #: the one device that this agent process serves, as farm.engine.slots writes it; `wanfarm worker` sets it
    slot: str | None = None
    #: an idle agent that hears no permit for this long although jobs are waiting is deaf: it ends and is started anew
    deaf_s: float = 60.0
    #: the next job is claimed, and its texts and inputs are made ready, when the one that renders has about this many
    #: seconds of denoising left; 0: when only its VAE is. A busy worker may take a job so early that another worker
    #: becomes free before it
    prefetch_s: float = Field(default=10.0, ge=0)
    #: different jobs in a row that may fail on a device before it is quarantined; 0: it never is
    strikes: int = Field(default=3, ge=0)
    #: a quarantined device is tried again after this long, doubled each time until it renders one
    quarantine_s: float = Field(default=600.0, gt=0)
    quarantine_max_s: float = Field(default=4 * 3600.0, gt=0)
    #: agents serve their metrics on this port plus the number of their slot (gpu-2: + 2); 0: they do not.
    #: One that is taken is replaced by a free one; workers tell theirs (`wanfarm workers --json`)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    #: the same for the io worker
    io_metrics_port: int = Field(default=0, ge=0, le=65535)
    #: the address that both bind
    metrics_host: str = "127.0.0.1"
    #: threads of the io worker (intake, webhooks)
    io_threads: int = 8


class ExporterSettings(Section):
    """The one process that shows the whole farm to Prometheus (`wanfarm exporter`; `wanfarm up` starts it)."""

    host: str = "127.0.0.1"
    #: 0 takes a free one; Prometheus finds it through the gateway (GET /metrics/targets)
    port: int = Field(default=0, ge=0, le=65535)


class EmbeddedSettings(Section):
    """`wanfarm up` starts a Redis and an S3 server of its own, unless redis.ledger_url / s3.endpoint are set."""

    #: 0 takes a free port at the first start and keeps it
    redis_port: int = Field(default=0, ge=0, le=65535)
    s3_port: int = Field(default=0, ge=0, le=65535)
    #: MB that the Redis may take before it refuses new jobs; 0: a quarter of this machine's memory
    redis_max_memory_mb: int = Field(default=0, ge=0)
    #: a part that died is started again after this long, then doubled
    backoff_s: float = 0.2
    backoff_max_s: float = 15.0
    #: seconds that a part other than the worker has to end by itself
    stop_s: float = 10.0


class PoolSettings(Section):
    """What is known of a pool before its workers say so themselves."""

    #: models that it serves even while no worker is up: jobs for them are accepted and wait
    models: tuple[str, ...] = ()
    #: speed of one of its GPUs, TFLOP/s, until it is measured; None: scheduling.assumed_tflops
    tflops: float | None = Field(None, gt=0)


class PriceSettings(Section):
    """The price book: what a second of video costs a tenant with a credit account. What has no price is refused."""

    #: catalog id -> resolution word -> credits per second of video
    per_second: dict[str, dict[str, float]] = Field(
        default_factory=lambda: {
            # what is charged for the same models elsewhere
            "wan2.2-animate-14b": {"480p": 6.0, "580p": 9.5, "720p": 12.5},
            "wan2.2-t2v-a14b-4step": {"480p": 8.0, "580p": 12.0, "720p": 16.0},
            "wan2.2-i2v-a14b-4step": {"480p": 8.0, "580p": 12.0, "720p": 16.0},
        }
    )
    #: US dollars of one credit, for dialects that tell costs in dollars
    credit_usd: float = Field(default=0.005, gt=0)


class DialectRetries(Section):
    """How often a webhook in this dialect is tried again; the first pause in seconds."""

    first_retry_s: float = 30.0
    retries: int = 3


class WebhookSettings(Section):
    """Terminal events are posted at least once, retried with growing, jittered pauses until give_up_s."""

    #: a receiver has this long to answer
    timeout_s: float = 10.0
    first_retry_s: float = 5.0
    max_retry_s: float = 3600.0
    give_up_s: float = 86400.0
    #: dialects that document a rule of their own
    dialects: dict[str, DialectRetries] = Field(default_factory=lambda: {"apixo": DialectRetries()})
    #: posts at once in one io worker; receivers that failed last may use half of them
    threads: int = 16
    #: posts at once to one receiver of one tenant; one while it fails
    per_receiver: int = 4
    #: how often beat looks for what is due
    every_s: float = 1.0
    #: dead letters kept per tenant
    dead_kept: int = 10_000


class SecretSettings(Section):
    """Secrets of tenants (webhook keys, wiro's API secrets) are encrypted in Redis with this key."""

    #: a Fernet key, the same on every machine of the farm; None: made once, in state_dir/secrets.key
    key: str | None = None


class ProvenanceSettings(Section):
    """Content credentials (C2PA) in finished videos, signed with the operator's certificate."""

    #: for tenants that are not named below: off, on (sign when it can be done) or required (unsigned is a failure)
    policy: SigningPolicy = SigningPolicy.OFF
    #: tenant id -> policy
    tenants: dict[str, SigningPolicy] = Field(default_factory=dict)
    #: PEM: the signing certificate, then its issuers
    certificate: Path | None = None
    #: PEM: its private key, unencrypted; only the worker's user should be able to read it
    key: Path | None = None
    #: as the key is: es256, es384, es512, ps256, ps384, ps512 or ed25519
    algorithm: str = "es256"
    #: RFC 3161 authority, so that signatures outlive the certificate; every result asks it
    timestamp_url: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("provenance.certificate and provenance.key go together")
        if self.certificate is None and SigningPolicy.REQUIRED in (self.policy, *self.tenants.values()):
            raise ValueError("provenance.policy is required, which needs a certificate and its key")
        return self


class ModelDefaults(Section):
    """What a dialect without a model field means. Empty: the first offered model that does the task."""

    t2v: str | None = None
    i2v: str | None = None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WANFARM_", env_nested_delimiter="__", extra="forbid", frozen=True)

    #: everything that must survive: Redis' append-only file, objects, logs, scratch
    state_dir: Path = Path(".wanfarm")
    redis: RedisSettings = Field(default_factory=RedisSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    lease: LeaseSettings = Field(default_factory=LeaseSettings)
    scheduling: SchedulingSettings = Field(default_factory=SchedulingSettings)
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
    pools: dict[str, PoolSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _clocks_agree(self) -> Self:
        if self.lease.stuck_s < self.lease.seconds:
            raise ValueError("lease.stuck_s must not be shorter than lease.seconds")
        if "intake" in (self.worker.pool, *self.pools):
            raise ValueError('no pool may be called "intake": jobs wait for their inputs there')
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
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if path := os.environ.get(CONFIG_ENV):
            sources += (TomlConfigSettingsSource(settings_cls, Path(path)),)
        return sources


def load() -> Settings:
    """The settings of this process: environment over the file that WANFARM_CONFIG names over defaults."""
    return Settings()
