"""Settings of the servers that a farm uses: Redis, S3, and what `wanfarm up` starts of them."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from farm.config.section import Section


class RedisSettings(Section):
    """Ledger and broker use separate databases (separate instances when they grow). rediss:// is TLS; user and password
    stand in the URL."""

    ledger_url: str = "redis://127.0.0.1:6379/0"
    broker_url: str = "redis://127.0.0.1:6379/1"
    #: "host:port" of each Sentinel: they are asked where the server is, and no host in a URL is
    sentinels: tuple[str, ...] = ()
    #: the name by which the Sentinels know the ledger's server, and the broker's where that is another
    service: str = "wanfarm"
    broker_service: str | None = None
    sentinel_user: str | None = None
    sentinel_password: str | None = None
    #: a PEM file with the authority of the servers' certificates; None: the system's
    ca_file: Path | None = None
    #: seconds before a call to a silent Redis fails
    socket_timeout_s: float = 5.0
    connect_timeout_s: float = 3.0
    #: keys of several farms can share a database
    prefix: str = "wf"
    #: an admission or commit is answered when the server's append-only file has it, where the server has WAITAOF
    waitaof: bool = True
    #: and when so many replicas have it, too: a failover to one of them loses nothing that was answered
    waitaof_replicas: int = Field(default=0, ge=0)


class S3Settings(Section):
    """The S3 server: of the farm's own, or another."""

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
    #: a PEM file with the authority of the server's certificate; None: the system's
    ca_file: Path | None = None
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


class ExporterSettings(Section):
    """The one process that shows the whole farm to Prometheus (`wanfarm exporter`; `wanfarm up` starts it)."""

    host: str = "127.0.0.1"
    #: 0 takes a free one; Prometheus finds it through the gateway (GET /metrics/targets)
    port: int = Field(default=0, ge=0, le=65535)


class EmbeddedSettings(Section):
    """`wanfarm up` starts a Redis and an S3 server of its own, unless redis.ledger_url / s3.endpoint are set."""

    #: 0 takes a free port at the first start and keeps it
    redis_port: int = Field(default=0, ge=0, le=65535)
    #: "always": what was answered survives the power failing. "everysec" answers in half the time and may lose the last
    #: second then; when the server alone dies, neither loses anything
    redis_fsync: Literal["always", "everysec"] = "always"
    s3_port: int = Field(default=0, ge=0, le=65535)
    #: where the Redis keeps its append-only file; by default redis/ in the state folder. On a disk of its own, no
    #: upload or result can take its room
    redis_dir: Path | None = None
    #: MB that the Redis may take before it refuses new jobs; 0: a quarter of this machine's memory
    redis_max_memory_mb: int = Field(default=0, ge=0)
    #: a part that died is started again after this long, then doubled
    backoff_s: float = 0.2
    backoff_max_s: float = 15.0
    #: seconds that a part other than the worker has to end by itself
    stop_s: float = 10.0


class SecretSettings(Section):
    """Secrets of tenants (webhook keys, wiro's API secrets) are encrypted in Redis with this key."""

    #: a Fernet key, the same on every machine of the farm; None: made once, in state_dir/secrets.key
    key: str | None = None
