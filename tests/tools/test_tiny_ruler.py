"""What measures the tiny models' pictures is right on pictures that were drawn."""

import torch

from tools.tiny import ruler, world


def test_the_ruler_reads_what_was_drawn() -> None:
    scenes = world.some(24, generator=torch.Generator().manual_seed(0))
    pictures = world.draw(scenes, 1, 128, 128, time=torch.zeros(1))[:, :, 0]
    colours = list(world.COLOURS)
    for picture, (colour, shape, _, scene) in zip(pictures, scenes.named.tolist(), strict=True):
        assert ruler.scene_of(picture) == world.SCENES[scene]
        assert ruler.colour_of(picture) == colours[colour]
        # the snow and the moon are as white as the thing
        if colours[colour] != "white" or world.SCENES[scene] not in ("snow", "night"):
            assert ruler.shape_of(picture) == world.SHAPES[shape]


def test_the_ruler_sees_nothing_where_nothing_is() -> None:
    for picture in (torch.zeros(3, 128, 128), torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))):
        assert ruler.overlaps(picture) == {} or max(ruler.overlaps(picture).values()) < 0.5


def test_a_thing_that_moves_right_is_seen_further_right() -> None:
    scenes = world.some(1, generator=torch.Generator().manual_seed(1))
    scenes.named[0] = torch.tensor([0, 1, 1, 0])
    clip = world.draw(scenes, 5, 128, 128)[0]
    places = [ruler.place_of(clip[:, frame]) for frame in range(5)]
    assert [x for x, _, _ in places] == sorted(x for x, _, _ in places)
    assert places[-1][0] > places[0][0] + 0.1
