"""What training computes in its own way is what diffusers computes."""

import pytest
import torch

from tools.tiny import autoencoders, experts, sizes, start, whole, words, world
from tools.tiny.denoising import Denoising
from tools.tiny.outlines import Outlines


@pytest.mark.parametrize("kind", list(sizes.VAES))
@pytest.mark.parametrize("frames", [1, 9])
def test_a_vae_on_a_whole_clip_is_the_vae(kind: str, frames: int) -> None:
    torch.manual_seed(0)
    vae = autoencoders.make(kind).eval()
    with torch.no_grad():
        for weight in vae.parameters():  # no part may be silent here
            weight.add_(0.05 * torch.randn_like(weight))
        clips = torch.rand(1, 3, frames, 32, 32) * 2 - 1
        mean, spread = whole.encode(vae, clips)
        stock = vae.encode(clips).latent_dist
        torch.testing.assert_close(mean, stock.mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(spread, stock.logvar, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(whole.decode(vae, mean).clamp(-1, 1), vae.decode(mean).sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", list(sizes.VAES))
def test_first_weights_let_a_picture_pass(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' own drown it: the latents' noise is larger than what tells one clip from another."""

    def heard(vae: object) -> float:
        clips = torch.rand(4, 3, 1, 1, 1).expand(-1, -1, 9, 32, 32) * 2 - 1
        with torch.no_grad():
            mean, spread = whole.encode(vae, clips)
        return float(mean.std(0).mean() / (0.5 * spread).exp().mean())

    torch.manual_seed(0)
    assert heard(autoencoders.make(kind)) > 2
    monkeypatch.setattr(autoencoders, "first_weights", lambda vae: None)
    assert heard(autoencoders.make(kind)) < 0.7
    assert start.first_weights is not autoencoders.first_weights


@pytest.mark.parametrize("name", ["t2v-low", "i2v-high", "ti2v"])
def test_short_texts_are_read_as_the_pipelines_long_ones(name: str) -> None:
    """With few latents: the texts are what is compared."""
    torch.manual_seed(0)
    dit = experts.make(name).eval()
    with torch.no_grad():
        torch.nn.init.normal_(dit.proj_out.weight, std=0.1)
    config = sizes.DITS[experts.EXPERTS[name].kind]
    latents = torch.randn(2, config["in_channels"], 2, 4, 4)
    texts = words.table()[words.row(torch.tensor([[0, 1, 2, 3], [7, 5, 8, 4]]))]
    padded = torch.nn.functional.pad(texts, (0, 0, 0, words.PADDED - words.TOKENS))
    time = torch.tensor([500.0, 900.0])
    with torch.no_grad():
        stock = dit(latents, time, padded, return_dict=False)[0]
        dit.set_attn_processor(experts.ShortText())
        short = dit(latents, time, texts, return_dict=False)[0]
    torch.testing.assert_close(short, stock, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(short[0], short[1], atol=1e-2)


@pytest.mark.parametrize("name", list(experts.EXPERTS))
def test_an_expert_sees_the_noise_levels_that_it_is_called_for(name: str) -> None:
    expert = experts.EXPERTS[name]
    bank = experts.Bank(expert.kind, expert.vae, torch.device("cpu"), size=2, piece=1)
    lesson = Denoising(experts.make(name), expert, bank, words.table(), batch=2)
    levels = lesson._levels(4096)
    low, high = expert.noise
    assert low <= levels.min() < low + 0.02
    assert high - 0.02 < levels.max() <= high


def test_an_expert_begins_where_another_one_is_and_ignores_what_only_it_is_shown() -> None:
    torch.manual_seed(0)
    stem, other = experts.make("t2v-stem").eval(), experts.make("i2v-high").eval()
    with torch.no_grad():
        torch.nn.init.normal_(stem.proj_out.weight, std=0.1)
    experts.begin_with(other, stem.state_dict())
    latents, picture = torch.randn(1, 16, 2, 4, 4), torch.randn(1, 20, 2, 4, 4)
    text, time = words.table()[:1], torch.tensor([700.0])
    with torch.no_grad():
        alone = stem(latents, time, text, return_dict=False)[0]
        shown = other(torch.cat([latents, picture], 1), time, text, return_dict=False)[0]
    torch.testing.assert_close(shown, alone)
    assert alone.abs().max() > 0.01


def test_a_shapes_word_is_heard_beside_hundreds_of_empty_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every layer's attention to the text makes of one word instead of another."""
    texts = words.table()[words.row(torch.tensor([[0, 1, 2, 3], [0, 3, 2, 3]]))]

    def heard() -> float:
        torch.manual_seed(0)
        dit = experts.make("t2v-low")
        states, text = torch.randn(1, 16, 96).expand(2, -1, -1), dit.condition_embedder.text_embedder(texts)
        change = torch.tensor(0.0)
        for block in dit.blocks:
            one, other = experts.ShortText()(block.attn2, states, text) - block.attn2.to_out[0].bias
            change += (one - other).norm() / one.norm()
        return float(change) / len(dit.blocks)

    with torch.no_grad():
        assert heard() > 0.25
        monkeypatch.setattr(experts, "hear_words", lambda dit: None)
        assert heard() < 0.1


def test_a_scene_in_every_shape_differs_in_the_shape_alone() -> None:
    torch.manual_seed(0)
    outlines = Outlines("vae21", torch.device("cpu"), size=2)
    vae = autoencoders.make("vae21").eval()
    vae.register_to_config(latents_mean=[0.0] * 16, latents_std=[1.0] * 16)
    for _ in range(2):
        outlines.refresh(vae)
    named, clean, under, weight = outlines.some(2)
    shapes = len(world.SHAPES)
    assert named[:, 1].tolist() == [*range(shapes)] * 2
    for part in named.unflatten(0, (2, shapes))[:, :, [0, 2, 3]]:
        assert (part == part[0]).all()
    clean, under, weight = (part.unflatten(0, (2, shapes)) for part in (clean, under, weight))
    torch.testing.assert_close(under[0], clean[0].mean(0, keepdim=True).expand_as(clean[0]))
    assert torch.equal(under[1], clean[1])
    # the thing is in the middle: there it is weighed most
    assert (weight[..., 6:10, 6:10].mean((1, 2, 3, 4, 5)) > 1.5 * weight[..., :2, :].mean((1, 2, 3, 4, 5))).all()
