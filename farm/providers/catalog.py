"""What providers sell, and how near it is to what the farm renders. Facts with their source; prices are settings.

`replaces` says what the catalog's model would be replaced by, not what it is called: kie's "turbo" is A14B with a
distillation of the provider's own, which nobody has published, so it is of the family of both our A14B and our 4-step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.providers.entry import Match

_T2V = "wan2.2-t2v-a14b"
_I2V = "wan2.2-i2v-a14b"
_ANIMATE = "wan2.2-animate-14b"


@dataclass(frozen=True)
class Known:
    """As in SoldModel."""

    replaces: Mapping[str, Match]
    source: str


def _base(model: str) -> dict[str, Match]:
    """The weights of `model`, at any precision; our 4-step variant is made from them."""
    same = {model: Match.SAME_WEIGHTS, f"{model}-fp8": Match.SAME_WEIGHTS}
    return same | {f"{model}-4step": Match.SAME_FAMILY}


def _all(match: Match, *models: str) -> dict[str, Match]:
    return dict.fromkeys(models, match)


_TURBO = "provider's page names A14B and 'turbo'; which distillation, it does not say"
_ANIMATE_SOURCE = "provider's page names Wan 2.2 Animate, published as Wan-AI/Wan2.2-Animate-14B"
_LATER = "a later Wan, whose weights are not published"
_LATER_T2V = _all(Match.SUBSTITUTE, _T2V, f"{_T2V}-fp8", f"{_T2V}-4step", "wan2.2-ti2v-5b")
_LATER_I2V = _all(Match.SUBSTITUTE, _I2V, f"{_I2V}-fp8", f"{_I2V}-4step", "wan2.2-ti2v-5b")
_KIE_TURBO = "kie, model page 'Wan 2.2 A14B Turbo' (2026-08): "

#: dialect -> the provider's model id -> what it may replace
SOLD: Mapping[str, Mapping[str, Known]] = {
    "kie": {
        "wan/2-2-animate-move": Known(_all(Match.SAME_WEIGHTS, _ANIMATE), f"kie: {_ANIMATE_SOURCE}"),
        "wan/2-2-animate-replace": Known(_all(Match.SAME_WEIGHTS, _ANIMATE), f"kie: {_ANIMATE_SOURCE}"),
        "wan/2-2-a14b-text-to-video-turbo": Known(
            _all(Match.SAME_FAMILY, _T2V, f"{_T2V}-fp8", f"{_T2V}-4step"), _KIE_TURBO + _TURBO
        ),
        "wan/2-2-a14b-image-to-video-turbo": Known(
            _all(Match.SAME_FAMILY, _I2V, f"{_I2V}-fp8", f"{_I2V}-4step"), _KIE_TURBO + _TURBO
        ),
        "wan/2-5-text-to-video": Known(_LATER_T2V, f"kie: {_LATER}"),
        "wan/2-5-image-to-video": Known(_LATER_I2V, f"kie: {_LATER}"),
        "wan/2-6-text-to-video": Known(_LATER_T2V, f"kie: {_LATER}"),
        "wan/2-6-image-to-video": Known(_LATER_I2V, f"kie: {_LATER}"),
        "wan/2-7-text-to-video": Known(_LATER_T2V, f"kie: {_LATER}"),
        "wan/2-7-image-to-video": Known(_LATER_I2V, f"kie: {_LATER}"),
    },
    "apixo": {
        "wan-2-2-animate": Known(_all(Match.SAME_WEIGHTS, _ANIMATE), f"apixo: {_ANIMATE_SOURCE}"),
        "wan-2-5-video": Known(_LATER_T2V | _LATER_I2V, f"apixo: {_LATER}"),
        "wan-2-7-video": Known(_LATER_T2V | _LATER_I2V, f"apixo: {_LATER}"),
    },
    "crun": {
        "wan/2-2-animate-replace": Known(_all(Match.SAME_WEIGHTS, _ANIMATE), f"crun: {_ANIMATE_SOURCE}"),
        "wan/2-2-animate-move": Known(_all(Match.SAME_WEIGHTS, _ANIMATE), f"crun: {_ANIMATE_SOURCE}"),
        "wan/2-7-t2v": Known(_LATER_T2V, f"crun: {_LATER}"),
    },
    "wiro": {
        "Wan-AI/Wan2.2-I2V-A14B": Known(
            _base(_I2V), "wiro's id is the name under which the weights are published: Wan-AI/Wan2.2-I2V-A14B"
        ),
        "alibaba/wan 2.6": Known(_LATER_T2V | _LATER_I2V, f"wiro: {_LATER}"),
    },
    # such a server renders one model and has no name for it
    "selfhosted": {
        "wan2.2-14b-fp8": Known(
            _base(_T2V) | _base(_I2V), "the API's own document: 'WAN 2.2 14B (FP8 quantized, dual expert architecture)'"
        ),
    },
    # the ids are those of the other side's catalog: a model of our own catalog's name is that model
    "farm": {},
    "openai": {},
}

#: dialects whose model ids are those of a farm's catalog
OWN_IDS = frozenset({"farm", "openai"})

#: dialect -> the first and the longest pause between two questions about a job, s: what the provider recommends
POLLS: Mapping[str, tuple[float, float]] = {
    "kie": (3.0, 30.0),
    "apixo": (60.0, 15.0),
    "crun": (20.0, 20.0),
    "wiro": (2.0, 10.0),
    "selfhosted": (10.0, 30.0),
    "openai": (10.0, 30.0),
    "farm": (2.0, 15.0),
}
