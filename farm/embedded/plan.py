"""From settings and a state folder to what exactly is started: addresses, ports, keys. It starts nothing."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from farm.claiming.page_address import own_address
from farm.config import Settings
from farm.embedded.folder import Remembered, StateFolder
from farm.embedded.ports import free_port
from farm.jobs.errors import FarmError

LOOPBACK = "127.0.0.1"
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


class BadPlan(FarmError):
    """Settings that `wanfarm up` cannot start from."""


@dataclass(frozen=True)
class StackPlan:
    """`settings` are complete: the parts read them. `url` is the gateway's for a client on this machine. The S3 server
    itself listens at s3_inner_port of this machine, what stands before it at s3_port of s3_host."""

    settings: Settings
    url: str
    own_redis: bool
    own_s3: bool
    redis_port: int
    redis_password: str
    s3_port: int
    s3_host: str
    s3_inner_port: int


def decide(given: Settings, folder: StateFolder) -> StackPlan:
    """Take the ports and keys that the folder remembers, make and remember those it does not.

    redis.ledger_url or s3.endpoint in `given` mean servers that run already: none is started for them.
    """
    own_redis = "ledger_url" not in given.redis.model_fields_set
    own_s3 = "endpoint" not in given.s3.model_fields_set
    if not own_redis and "broker_url" not in given.redis.model_fields_set:
        raise BadPlan("redis.ledger_url is set but redis.broker_url is not; give both (separate databases)")
    kept = folder.remembered()
    host = given.gateway.host
    s3_host = host if own_s3 and not _loopback(host) else LOOPBACK
    kept.redis_port = given.embedded.redis_port or free_port(kept.redis_port)
    kept.s3_port = given.embedded.s3_port or free_port(kept.s3_port, s3_host)
    kept.s3_inner_port = free_port(kept.s3_inner_port)
    kept.gateway_port = given.gateway.port or free_port(kept.gateway_port, host)
    folder.remember(kept)

    updates: dict[str, object] = {
        "state_dir": folder.path,
        "gateway": given.gateway.model_copy(update={"port": kept.gateway_port}),
    }
    if own_redis:
        base = f"redis://:{kept.redis_password}@{LOOPBACK}:{kept.redis_port}"
        urls = {"ledger_url": f"{base}/0"}
        if "broker_url" not in given.redis.model_fields_set:
            urls["broker_url"] = f"{base}/1"
        updates["redis"] = given.redis.model_copy(update=urls)
    if own_s3:
        updates["s3"] = given.s3.model_copy(update={**_s3(given, kept, s3_host), "folder": folder.s3.absolute()})
    if given.worker.models_dir is None:
        updates["worker"] = given.worker.model_copy(update={"models_dir": folder.path / "models"})
    return StackPlan(
        settings=given.model_copy(update=updates),
        url=f"http://{LOOPBACK if host in _ANYWHERE else host}:{kept.gateway_port}",
        own_redis=own_redis,
        own_s3=own_s3,
        redis_port=kept.redis_port,
        redis_password=kept.redis_password,
        s3_port=kept.s3_port,
        s3_host=s3_host,
        s3_inner_port=kept.s3_inner_port,
    )


def _s3(given: Settings, kept: Remembered, s3_host: str) -> dict[str, str]:
    values = {"endpoint": f"{LOOPBACK if s3_host in _ANYWHERE else s3_host}:{kept.s3_port}"}
    if not {"access_key", "secret_key"} & given.s3.model_fields_set:
        values |= {"access_key": kept.s3_access_key, "secret_key": kept.s3_secret_key}
    if given.s3.public_endpoint is None and not _loopback(s3_host):
        # a signature covers the host: sign for the address that clients dial
        public = urlsplit(given.gateway.public_url or "").hostname
        values["public_endpoint"] = f"{public or (own_address() if s3_host in _ANYWHERE else s3_host)}:{kept.s3_port}"
    return values


def _loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def refuse_written_settings(config: str | None, folder: StateFolder) -> None:
    """The file that `up` writes for its parts names its own Redis as if it were a foreign one."""
    if config is not None and Path(config).absolute() == folder.settings_file:
        raise BadPlan(f"{config} is written by `wanfarm up` for its parts; start it with your own file, or none")
