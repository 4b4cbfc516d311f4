"""The drawn world: the same numbers draw the same clip, and its words become what a pipeline makes of them."""

import pytest
import torch

from tools.tiny import words, world


def seeded(seed: int, count: int = 3) -> world.Scenes:
    return world.some(count, generator=torch.Generator().manual_seed(seed))


def test_a_seed_draws_the_same_clips_and_another_seed_others() -> None:
    first, again, other = (world.draw(seeded(seed), 5, 32, 32) for seed in (7, 7, 8))
    assert first.shape == (3, 3, 5, 32, 32)
    assert first.min() >= -1
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_window_is_cut_out_of_the_whole_picture() -> None:
    scenes = seeded(3)
    corner = torch.tensor([4.0, 9.0, 16.0]), torch.tensor([0.0, 7.0, 16.0])
    windows = world.draw(scenes, 5, 32, 32, crop=(*corner, 16, 16))
    for window, whole, top, left in zip(windows, world.draw(scenes, 5, 32, 32), *corner, strict=True):
        cut = whole[:, :, int(top) : int(top) + 16, int(left) : int(left) + 16]
        torch.testing.assert_close(window, cut, atol=2e-3, rtol=0)


@pytest.mark.parametrize("colour", range(len(world.COLOURS)))
def test_the_colour_that_a_caption_names_is_drawn_and_another_changes_only_the_shape(colour: int) -> None:
    scenes = seeded(5, 1)
    scenes.named[:] = torch.tensor([colour, 0, 0, 1])
    clip = world.draw(scenes, 1, 64, 64)[0, :, 0]
    wanted = torch.tensor(list(world.COLOURS.values())[colour]) * 2 - 1
    assert ((clip - wanted[:, None, None]).abs().amax(0) < 0.25).sum() > 40
    scenes.named[:, 0] = (colour + 1) % len(world.COLOURS)
    changed = (world.draw(scenes, 1, 64, 64)[0, :, 0] != clip).any(0)
    assert 0.02 < changed.float().mean() < 0.2


def test_words_outside_the_vocabulary_are_dropped_and_words_of_one_meaning_are_one() -> None:
    read = words.tokenizer()
    plain = read("red star jumps night").input_ids
    assert read("A very RED, shiny star; (it jumps!) at night.").input_ids == plain
    rows = words.encoder().shared.weight.detach()
    crimson, red, blue = (rows[read(word).input_ids[0]] for word in ("crimson", "red", "blue"))
    assert torch.equal(crimson, red)
    assert abs(float(red @ blue)) < 1e-3


def test_the_table_of_captions_is_what_the_pipeline_encodes() -> None:
    from diffusers import WanPipeline

    pipe = WanPipeline(
        tokenizer=words.tokenizer(), text_encoder=words.encoder(), vae=None, scheduler=None, transformer=None
    )
    named = torch.tensor([[0, 1, 2, 3], [4, 3, 5, 0]])
    table = words.table()[words.row(named)]
    said = [words.caption(tuple(one)) for one in named.tolist()]
    encoded, _ = pipe.encode_prompt(said, do_classifier_free_guidance=False, max_sequence_length=words.PADDED)
    torch.testing.assert_close(encoded[:, : words.TOKENS], table, atol=1e-4, rtol=1e-4)
    assert not encoded[:, words.TOKENS :].any()
