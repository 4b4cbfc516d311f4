"""The walk through docs/burst.md: its configuration is one, and sells what a farm without a GPU renders."""

import re
import tomllib
from pathlib import Path

import pytest
from burst_parts import spec

from farm.config import Settings
from farm.providers.entry import Consent
from farm.providers.offers import offers
from farm.providers.registry import Providers
from models.catalog import MODELS

TEXT = (Path(__file__).parents[3] / "docs" / "burst.md").read_text()


@pytest.mark.parametrize("model", ["wan2.2-t2v-a14b-tiny"])
def test_the_walk_s_provider_sells_what_its_farm_renders(model: str) -> None:
    found = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    settings = Settings(**tomllib.loads(found[1]))
    own = MODELS[model].defaults
    (offer,) = offers(
        Providers(settings).entries,
        spec(model=model, width=own.width, height=own.height),
        Consent(settings.burst.external),
    ).offers
    assert (offer.provider, offer.sold) == ("kie", "wan/2-2-a14b-text-to-video-turbo")
    # the cap holds three clips, and no fourth
    cap = round((settings.burst.farm_day_usd or 0) * 1e6)
    assert 3 * offer.price_micro <= cap < 4 * offer.price_micro
