"""What may be bought for a job, and the sentence that says why not."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.jobs.spec import InputRef, JobSpec
from farm.providers import Consent, KeyMissing, Match, Offers, Providers, offers
from farm.providers.catalog import SOLD
from farm.providers.registry import ProviderSettingsWrong
from farm.wire import model_ids
from farm.wire.outbound import CLIENTS
from farm.wire.purchase_order import PurchaseOrder
from models.catalog import MODELS

PICTURE = InputRef(key="k", sha256="s", width=832, height=480)
CLIP = InputRef(key="k", sha256="s", width=832, height=480, seconds=3.0, frames=48, fps=16.0)
PRICES = {"480p": 0.04, "720p": 0.08}
SETTINGS: dict[str, Any] = {
    "kie": {
        "dialect": "kie",
        "base_url": "https://kie.example",
        "models": {
            "wan/2-2-animate-replace": {"per_second": {"480p": 0.03}},
            "wan/2-2-a14b-text-to-video-turbo": {"per_second": PRICES},
            "wan/2-6-text-to-video": {"per_second": PRICES},
        },
    },
    "apixo": {
        "dialect": "apixo",
        "base_url": "https://apixo.example",
        "order": 1,
        "models": {"wan-2-2-animate": {"per_second": PRICES, "minimum_s": 5, "maximum_s": 120}},
    },
    "wiro": {
        "dialect": "wiro",
        "base_url": "https://wiro.example",
        "models": {"Wan-AI/Wan2.2-I2V-A14B": {"per_second": PRICES}},
    },
    "box": {
        "dialect": "selfhosted",
        "base_url": "http://10.0.0.9:8000",
        "models": {"wan2.2-14b-fp8": {"per_second": {"480p": 0.0}}},
    },
    "other": {
        "dialect": "farm",
        "base_url": "https://farm.example",
        "models": {"wan2.2-t2v-a14b": {"per_second": PRICES}},
    },
}


def spec(model: str, task: str, **changes: Any) -> JobSpec:
    own = MODELS[model].defaults
    made = JobSpec(
        model, task, "a fox", "", own.width, own.height, own.frames, own.fps, own.steps, own.guidance, own.guidance_2,
        own.shift, 7,
    )  # fmt: skip
    return replace(made, **({"width": 832, "height": 480} | changes))


def made(**entries: Any) -> Providers:
    with_keys = {name: {"keys": {"main": {"env": "SOME_KEY"}}} | one for name, one in (entries or SETTINGS).items()}
    return Providers(Settings(providers=with_keys))


def asked(job: JobSpec, consent: Consent = Consent.SAME, **also: bool) -> Offers:
    return offers(made().entries, job, consent, **also)


T2V, I2V = spec("wan2.2-t2v-a14b", "t2v"), spec("wan2.2-i2v-a14b", "i2v", inputs={"image": PICTURE})
REPLACE = spec("wan2.2-animate-14b", "replace", inputs={"image": PICTURE, "video": CLIP}, frames=49, fps=16.0)


def sold(found: Offers) -> dict[str, str]:
    return {offer.provider: offer.sold for offer in found.offers}


def test_the_same_weights_alone_unless_more_is_allowed() -> None:
    assert sold(asked(T2V)) == {"box": "wan2.2-14b-fp8", "other": "wan2.2-t2v-a14b"}
    assert sold(asked(T2V, Consent.FAMILY))["kie"] == "wan/2-2-a14b-text-to-video-turbo"
    assert "same_family, and external is same" in asked(T2V).refused["kie"]
    assert sold(asked(I2V)) == {"wiro": "Wan-AI/Wan2.2-I2V-A14B", "box": "wan2.2-14b-fp8"}
    assert all(offer.source for offer in asked(T2V, Consent.ANY).offers)


def test_the_nearest_model_is_offered_not_the_cheapest() -> None:
    (kie,) = [offer for offer in asked(T2V, Consent.ANY).offers if offer.provider == "kie"]
    assert kie.match is Match.SAME_FAMILY


def test_a_later_wan_is_a_substitute_and_is_asked_in_words() -> None:
    only = made(kie=SETTINGS["kie"] | {"models": {"wan/2-6-text-to-video": {"per_second": PRICES}}})
    (offer,) = offers(only.entries, T2V, Consent.ANY).offers
    order = PurchaseOrder(T2V, model=offer.model)
    body = CLIENTS["kie"]("https://kie.example", "k").create(order).json
    assert (body["model"], body["input"]["duration"], body["input"]["aspect_ratio"]) == (offer.sold, "5", "16:9")
    # what our model has by default is nothing to tell another
    assert "num_inference_steps" not in body["input"]
    steps = replace(T2V, steps=T2V.steps + 1)
    assert "num_inference_steps" not in str(offers(only.entries, steps, Consent.FAMILY).offers)


def test_what_has_no_price_is_refused_and_the_setting_is_named() -> None:
    large = replace(REPLACE, width=1280, height=720)
    assert asked(large).refused["kie"] == (
        "its price is not known: providers.kie.models.'wan/2-2-animate-replace'.per_second has no 720p"
    )
    assert "apixo" in sold(
        asked(replace(large, inputs={r: replace(i, width=1280, height=720) for r, i in large.inputs.items()}))
    )


@pytest.mark.parametrize(("seconds", "billed"), [(3.0, 5.0), (30.0, 30.0), (300.0, 120.0)])
def test_a_price_is_the_most_that_the_job_costs_there(seconds: float, billed: float) -> None:
    job = replace(
        REPLACE, frames=round(seconds * 16) + 1, inputs=dict(REPLACE.inputs) | {"video": replace(CLIP, seconds=seconds)}
    )
    offer = next(one for one in asked(job).offers if one.provider == "apixo")
    assert offer.seconds == pytest.approx(billed, abs=0.07)
    assert offer.price_micro >= billed * 40_000
    assert asked(T2V).offers[1].price_micro == 5 * 40_000


def test_the_operator_s_order_comes_before_the_price() -> None:
    assert list(sold(asked(REPLACE))) == ["apixo", "kie"]


def test_apixo_s_route_follows_from_what_is_allowed() -> None:
    routes = [asked(REPLACE, consent).offers[0].dialect_data["route"] for consent in (Consent.SAME, Consent.ANY)]
    assert routes == ["official", "auto"]


@pytest.mark.parametrize(
    ("job", "also", "words"),
    [
        (replace(T2V, loras=({"id": "l"},)), {}, "its LoRAs are here"),
        (T2V, {"own_lane": True}, "its lane is the tenant's own"),
        (T2V, {"promised_seed": True}, "its seed was promised"),
        (replace(T2V, length_of="video"), {}, "not known yet"),
    ],
)
def test_what_stays_here_says_so(job: JobSpec, also: dict[str, bool], words: str) -> None:
    found = asked(job, Consent.ANY, **also)
    assert found.offers == ()
    assert words in found.refused[""]
    assert "never" in asked(T2V, Consent.NEVER).refused[""]


def test_what_a_dialect_cannot_say_is_no_offer() -> None:
    found = asked(replace(T2V, fps=24.0), Consent.FAMILY)
    assert set(sold(found)) == {"kie", "other"}
    assert found.refused["box"] == "fps: a self-hosted server renders 16 and nothing else"


def test_every_model_of_a_dialect_has_a_class_and_a_source() -> None:
    """A model that the codec knows and the catalog of purchases does not is none that may be bought: written down."""
    for dialect, models in SOLD.items():
        for name, known in models.items():
            assert known.source
            assert known.replaces
            assert set(known.replaces) <= set(MODELS)
            assert not model_ids.TABLE.get(dialect) or model_ids.meaning(dialect, name)


def test_consent_of_a_job_narrows_its_tenant_s() -> None:
    assert Consent.ANY.narrowed(Consent.SAME) is Consent.SAME
    assert Consent.NEVER.narrowed(Consent.ANY) is Consent.NEVER


def test_a_key_is_read_from_its_place_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("file-secret-1\n")
    monkeypatch.setenv("ENV_KEY", "env-secret-2")
    keys = {"a": {"env": "ENV_KEY"}, "b": {"file": str(file)}, "c": {"env": "NOT_THERE"}}
    settings = Settings(providers={"kie": SETTINGS["kie"] | {"keys": keys}})
    mine = Providers(settings)
    for name, secret in (("a", "env-secret-2"), ("b", "file-secret-1")):
        client = mine.client_of("kie", name)
        assert client.balance().headers["Authorization"] == f"Bearer {secret}"
        for shown in (settings, settings.model_dump_json(), mine.entries, client, client.balance()):
            assert secret not in repr(shown)
    with pytest.raises(KeyMissing, match="kie/c in the environment variable NOT_THERE"):
        mine.client_of("kie", "c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dialect": "acme"}, "providers.x.dialect: 'acme' is none of"),
        ({"models": {"wan/9": {}}}, "say what it replaces"),
    ],
)
def test_an_entry_that_nothing_can_be_made_of_names_the_setting(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ProviderSettingsWrong, match=words):
        made(x=SETTINGS["kie"] | changes)


def test_the_example_of_the_documentation_is_a_provider() -> None:
    page = (Path(__file__).parents[3] / "docs" / "providers.md").read_text()
    example = tomllib.loads(page.split("```toml\n")[1].split("```")[0])
    (kie,) = Providers(Settings(**example)).entries.values()
    assert (kie.key_names, kie.models[0].per_second["580p"], kie.rate_burst) == (("main",), 47_500, 20)
