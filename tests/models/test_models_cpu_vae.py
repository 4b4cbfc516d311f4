"""The VAEs' convolutions and norms on a CPU: torch's own sums, whatever the layer, and however its input lies."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm
from torch.nn import Conv3d
from torch.nn.functional import conv3d, normalize, pad

from models.acceleration import cpu_vae

LAYERS: dict[str, Callable[[], Conv3d]] = {
    "kernel of three": lambda: Conv3d(4, 6, 3),
    "kernel of one": lambda: Conv3d(4, 6, 1, bias=False),
    "steps and numbers around": lambda: Conv3d(4, 6, (3, 1, 2), stride=(2, 1, 1), padding=(1, 0, 1)),
    "groups": lambda: Conv3d(4, 6, 3, groups=2, dilation=(1, 2, 1)),
    "a word around": lambda: Conv3d(4, 6, 3, padding="same"),
}


@pytest.fixture(autouse=True, scope="module")
def _used() -> None:
    cpu_vae.use()


def frames(seed: int = 0) -> Any:
    return torch.randn(1, 4, 5, 9, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_convolution_is_torchs(make: Callable[[], Conv3d]) -> None:
    layer = make()
    how = (layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    torch.testing.assert_close(layer(frames()), conv3d(frames(), *how))
    # without a batch, too
    torch.testing.assert_close(layer(frames()[0]), conv3d(frames()[0], *how))


def test_edges_that_are_repeated() -> None:
    layer = Conv3d(4, 6, 3, padding=1, padding_mode="replicate")
    around = pad(frames(), (1,) * 6, mode="replicate")
    torch.testing.assert_close(layer(frames()), conv3d(around, layer.weight, layer.bias))


def norm(layer: WanRMS_norm, given: Any) -> Any:
    return normalize(given, dim=1 if layer.channel_first else -1) * layer.scale * layer.gamma + layer.bias


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_is_diffusers(first: bool, bias: bool) -> None:
    layer = WanRMS_norm(4, channel_first=first, images=False, bias=bias)
    torch.nn.init.normal_(layer.gamma)
    given = frames() if first else frames().movedim(1, -1)
    torch.testing.assert_close(layer(given), norm(layer, given))
    nothing = torch.zeros_like(given)
    torch.testing.assert_close(layer(nothing), norm(layer, nothing))


@pytest.mark.parametrize("layer", [Conv3d(4, 6, 3), WanRMS_norm(4, images=False)], ids=["convolution", "norm"])
def test_the_bits_do_not_depend_on_how_the_input_lies(layer: Any) -> None:
    with torch.no_grad():
        for other in (frames().to(memory_format=torch.channels_last_3d), frames().mT.contiguous().mT):
            assert torch.equal(layer(frames()), layer(other))


def test_other_numbers_are_computed_as_ever() -> None:
    convolution, layer = Conv3d(4, 6, 3).bfloat16(), WanRMS_norm(4, images=False).bfloat16()
    given = frames().bfloat16()
    assert torch.equal(convolution(given), conv3d(given, convolution.weight, convolution.bias))
    usual = normalize(given.float(), dim=1).bfloat16() * layer.scale * layer.gamma
    assert torch.equal(layer(given), usual)


def test_it_can_be_trained() -> None:
    layer = torch.nn.Sequential(Conv3d(4, 4, 3), WanRMS_norm(4, images=False))
    layer(frames()).square().sum().backward()
    ours = layer[0].weight.grad.clone()
    layer.zero_grad()
    norm(layer[1], conv3d(frames(), layer[0].weight, layer[0].bias)).square().sum().backward()
    torch.testing.assert_close(ours, layer[0].weight.grad, rtol=1e-3, atol=1e-3)
