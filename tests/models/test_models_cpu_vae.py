"""The VAEs' convolutions and norms on a CPU: torch's own sums, whatever the layer, and however its input lies."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm
from torch.nn import Conv3d
from torch.nn.functional import conv3d, normalize, pad

from models.acceleration import cpu_vae

LAYERS: dict[str, Callable[[], WanCausalConv3d]] = {
    "kernel of three": lambda: WanCausalConv3d(4, 6, 3, padding=1),
    "kernel of one": lambda: WanCausalConv3d(4, 6, 1),
    "over time": lambda: WanCausalConv3d(4, 8, (3, 1, 1), padding=(1, 0, 0)),
    "steps": lambda: WanCausalConv3d(4, 4, (3, 1, 1), stride=(2, 1, 1)),
}


@pytest.fixture(autouse=True, scope="module")
def _used() -> None:
    cpu_vae.use()


def frames(seed: int = 0) -> Any:
    return torch.randn(1, 4, 5, 9, 8, generator=torch.Generator().manual_seed(seed))


def causal(layer: WanCausalConv3d, given: Any) -> Any:
    """As diffusers defines it: frames before the first are nothing, and none comes after."""
    return conv3d(pad(given, layer._padding), layer.weight, layer.bias, layer.stride)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_a_convolution_is_torchs(make: Callable[[], WanCausalConv3d]) -> None:
    layer = make()
    torch.testing.assert_close(layer(frames()), causal(layer, frames()))


def test_frames_that_came_before_are_kept() -> None:
    layer, given = WanCausalConv3d(4, 6, 3, padding=1), frames()
    later = layer(given[:, :, 2:], given[:, :, :2])
    torch.testing.assert_close(later, layer(given)[:, :, 2:])


def test_other_convolutions_of_the_process_are_torchs() -> None:
    assert Conv3d._conv_forward.__module__ == "torch.nn.modules.conv"


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


@pytest.mark.parametrize("layer", [WanCausalConv3d(4, 6, 3), WanRMS_norm(4, images=False)], ids=["convolution", "norm"])
def test_the_bits_do_not_depend_on_how_the_input_lies(layer: Any) -> None:
    with torch.no_grad():
        for other in (frames().to(memory_format=torch.channels_last_3d), frames().mT.contiguous().mT):
            assert torch.equal(layer(frames()), layer(other))


def test_other_numbers_are_computed_as_ever() -> None:
    convolution, layer = WanCausalConv3d(4, 6, 3).bfloat16(), WanRMS_norm(4, images=False).bfloat16()
    given = frames().bfloat16()
    assert torch.equal(convolution(given), causal(convolution, given))
    usual = normalize(given.float(), dim=1).bfloat16() * layer.scale * layer.gamma
    assert torch.equal(layer(given), usual)


def test_it_can_be_trained() -> None:
    layer = torch.nn.Sequential(WanCausalConv3d(4, 4, 3), WanRMS_norm(4, images=False))
    layer(frames()).square().sum().backward()
    ours = layer[0].weight.grad.clone()
    layer.zero_grad()
    norm(layer[1], causal(layer[0], frames())).square().sum().backward()
    torch.testing.assert_close(ours, layer[0].weight.grad, rtol=1e-3, atol=1e-3)
