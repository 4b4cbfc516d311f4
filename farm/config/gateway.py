"""Settings of the gateway: HTTP, connections, threads."""

from pydantic import Field

from farm.config.section import Section


class GatewaySettings(Section):
    """Addresses of the gateway, and what clients may take of it."""

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
    #: origins (https://app.example.com) whose pages may ask this farm from a browser; "*" is everybody's
    cors_origins: tuple[str, ...] = ()
    #: seconds that a key, once seen valid, is trusted without asking Redis
    key_cache_s: float = 10.0
    #: whether /metrics answers without an operator's key (a Prometheus on a network that tenants do not reach)
    open_metrics: bool = False


class ConsoleSettings(Section):
    """The pages for people, below /console/."""

    #: whether there are any
    enabled: bool = True
    #: seconds after which a session that was not used ends, and after which every one does
    session_s: int = Field(default=12 * 3600, ge=60)
    session_max_s: int = Field(default=7 * 86400, ge=60)
    #: pages that follow the farm live at once, in one process; more get 503 and must be reloaded
    max_streams: int = Field(default=128, ge=1)
    #: of them, for one tenant; more get 429
    max_streams_each: int = Field(default=64, ge=1)
