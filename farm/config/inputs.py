"""Settings of what comes in: inputs and LoRAs."""

from pydantic import Field

from farm.config.section import Section


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
