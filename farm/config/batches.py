"""Settings of batches: many shots in one request."""

from pydantic import Field

from farm.config.section import Section


class BatchSettings(Section):
    """Manifests, files of requests, and how batches are placed."""

    #: shots of one request, and jobs that they may make (`takes`)
    max_shots: int = Field(default=100_000, ge=1)
    #: bytes of a manifest or of an uploaded file of requests; it is kept on disk, never in memory
    max_body: int = Field(default=256 * 1024 * 1024, ge=1)
    #: seconds, in total, to send it (gateway.body_s is for all other bodies)
    body_s: float = Field(default=600.0, gt=0)
    #: bytes of one line of it
    max_line: int = Field(default=1024 * 1024, ge=1)
    #: bytes of such bodies that one gateway process keeps on disk at once; one address may have half of them
    max_spooled: int = Field(default=1024 * 1024 * 1024, ge=1)
    #: jobs that are staged, and placed, in one call of the ledger; fewer where they follow many others
    chunk: int = Field(default=200, ge=1, le=1000)
    #: a staging that nobody worked on for so long was left by a crash: it is removed
    abandoned_s: float = Field(default=30.0, gt=0)
    #: how often the io worker goes on with what is under way
    every_s: float = Field(default=1.0, gt=0)
