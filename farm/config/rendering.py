"""Settings of GPU workers and their engines."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from farm.config.section import Section


class SpeedSettings(Section):
    """What makes renders fast. "auto" is what is right for the device; what was done is in every recipe."""

    #: "auto", or one of diffusers' attention backends that is installed on the worker
    attention: str = "auto"
    #: kernels of our own for transformer blocks and VAE: "auto" on Hopper GPUs (H100, H200), if they prove right there
    fused: Literal["auto", "on", "off"] = "auto"
    #: compile blocks that are not fused: seconds at the first job of each shape, kept on disk after that
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
    """The GPU workers of this machine."""

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
    #: an agent that had no job for so long ends and is not started again; `wanfarm worker` ends with the last of them.
    #: For machines that are paid by the hour and started by need. None: they stay
    end_when_idle_s: float | None = Field(default=None, ge=0)
    #: what the first SIGTERM means. "finish": running renders end first, a second signal hands them back. "hand_back":
    #: at once, for machines that are taken away soon after it (spot)
    on_term: Literal["finish", "hand_back"] = "finish"
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
