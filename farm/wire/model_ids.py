"""Which catalog entry a dialect's model id means, and back. One table. The catalog need not have every id in it: a
model that is missing or that no worker offers is answered with the dialect's own error."""

from dataclasses import dataclass

ANIMATE = "wan2.2-animate-14b"
TURBO_T2V = "wan2.2-t2v-a14b-4step"
TURBO_I2V = "wan2.2-i2v-a14b-4step"
SPEECH = "wan2.2-s2v-14b"
TURBO_SPEECH = "wan2.2-s2v-14b-4step"


@dataclass(frozen=True)
class Meaning:
    """A catalog id and the task that the dialect's id stands for (None: the inputs decide)."""

    model: str
    task: str | None = None


#: dialect -> its model id -> meaning. Where several ids mean the same, the first is the one rendered outbound.
TABLE: dict[str, dict[str, Meaning]] = {
    "kie": {
        "wan/2-2-animate-move": Meaning(ANIMATE, "animate"),
        "wan/2-2-animate-replace": Meaning(ANIMATE, "replace"),
        "wan/2-2-a14b-text-to-video-turbo": Meaning(TURBO_T2V, "t2v"),
        "wan/2-2-a14b-image-to-video-turbo": Meaning(TURBO_I2V, "i2v"),
        "wan/2-2-a14b-speech-to-video-turbo": Meaning(TURBO_SPEECH, "s2v"),
        "wan/2-5-text-to-video": Meaning("wan2.5", "t2v"),
        "wan/2-5-image-to-video": Meaning("wan2.5", "i2v"),
        "wan/2-6-text-to-video": Meaning("wan2.6", "t2v"),
        "wan/2-6-image-to-video": Meaning("wan2.6", "i2v"),
        "wan/2-6-video-to-video": Meaning("wan2.6", "v2v"),
        "wan/2-6-flash-image-to-video": Meaning("wan2.6-flash", "i2v"),
        "wan/2-6-flash-video-to-video": Meaning("wan2.6-flash", "v2v"),
        "wan/2-7-text-to-video": Meaning("wan2.7", "t2v"),
        "wan/2-7-image-to-video": Meaning("wan2.7", "i2v"),
        "wan/2-7-r2v": Meaning("wan2.7", "r2v"),
        "wan/2-7-videoedit": Meaning("wan2.7", "v2v"),
        "wan/2-7-image": Meaning("wan2.7-image", "t2i"),
        "wan/2-7-image-pro": Meaning("wan2.7-image-pro", "t2i"),
        "wan/3-0-video": Meaning("wan3.0"),
        "wan/3-0-video-prime": Meaning("wan3.0-prime"),
    },
    "apixo": {
        "wan-2-2-animate": Meaning(ANIMATE),
        "wan-2-5-video": Meaning("wan2.5"),
        "wan-2-5": Meaning("wan2.5"),
        "wan-2-7-video": Meaning("wan2.7"),
    },
    "crun": {
        "wan/2-2-animate-replace": Meaning(ANIMATE, "replace"),
        "wan/2-2-animate-move": Meaning(ANIMATE, "animate"),
        "wan/2-7-t2v": Meaning("wan2.7", "t2v"),
    },
    "wiro": {
        "Wan-AI/Wan2.2-I2V-A14B": Meaning("wan2.2-i2v-a14b", "i2v"),
        "alibaba/wan 2.6": Meaning("wan2.6"),
        "wiro/wan2.2-effects-extra": Meaning("wan2.2-effects-extra", "i2v"),
        "pruna/wan-image-small": Meaning("wan-image-small", "t2i"),
    },
    # OpenAI's own names mean the farm's default: what the client asks for decides the task
    "openai": {},
}

OPENAI_DEFAULTS = ("sora-2", "sora-2-pro", "sora-2-2025-10-06", "sora-2-pro-2025-10-06", "sora-2-2025-12-08")


def meaning(dialect: str, model_id: str) -> Meaning | None:
    """Case and the separators of percent-encoded paths do not count. None: the dialect has no such id."""
    wanted = _plain(model_id)
    return next((m for known, m in TABLE[dialect].items() if _plain(known) == wanted), None)


def canonical(dialect: str, model_id: str) -> str:
    """The id as the table spells it."""
    wanted = _plain(model_id)
    return next((known for known in TABLE[dialect] if _plain(known) == wanted), model_id)


def dialect_model(dialect: str, model: str, task: str | None) -> str | None:
    """The dialect's id for a catalog id doing a task; None when the dialect cannot say it."""
    rows = TABLE[dialect].items()
    exact = next((known for known, m in rows if m.model == model and m.task == task), None)
    return exact or next((known for known, m in rows if m.model == model and (m.task is None or task is None)), None)


def _plain(model_id: str) -> str:
    return model_id.strip().lower().replace(" ", "-").replace("_", "-").replace(".", "-")
