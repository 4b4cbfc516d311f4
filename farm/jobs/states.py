"""The states of a job and the only ways between them.

The Lua scripts of the ledger get these names from here (farm.ledger.scripts); nothing else spells them.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a job stands. `waiting` is intake; the last three are terminal."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a running job is doing; progress in [0, 1] goes with it."""

    ASSIGNED = "assigned"
    LOADING = "loading"
    PREPROCESSING = "preprocessing"
    DENOISING = "denoising"
    DECODING = "decoding"
    ENCODING = "encoding"
    UPLOADING = "uploading"
    # at a provider
    SUBMITTING = "submitting"
    SUBMIT_UNKNOWN = "submit_unknown"
    PROVIDER_QUEUED = "provider_queued"
    GENERATING = "generating"
    DOWNLOADING = "downloading"


class Tier(StrEnum):
    """Which jobs of a pool go first, before any share is looked at."""

    #: an operator granted it
    URGENT = "urgent"
    NORMAL = "normal"
    #: runs where nothing above it can; its deadline is the end of its completion window
    ECONOMY = "economy"


class HoldReason(StrEnum):
    """Why a job is not to start yet. A job may have several; it starts when it has none."""

    #: somebody paused it, or what it belongs to
    PAUSED = "paused"
    #: somebody has to agree first
    APPROVAL = "approval"
    #: another job has to end first, and may be an input
    DEPENDENCY = "dependency"
    #: a shortage that all jobs of its kind share: no credit at a provider, a lane without a worker
    PARKED = "parked"


#: reasons that keep a job from intake too. For any other its inputs are fetched while their addresses are still good
HOLDS_INTAKE = frozenset({HoldReason.DEPENDENCY})

#: the work goes on elsewhere: a lease that runs out in one of these is no lost worker (Ledger.reap)
PROVIDER_PHASES = frozenset(
    {Phase.SUBMITTING, Phase.SUBMIT_UNKNOWN, Phase.PROVIDER_QUEUED, Phase.GENERATING, Phase.DOWNLOADING}
)

TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
OPEN = frozenset(State) - TERMINAL

#: from -> to. A transition that is not here does not exist.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.WAITING, State.QUEUED, State.FAILED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.RUNNING, *TERMINAL}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
