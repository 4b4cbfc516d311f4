"""What the LoRAs of the tiny models learn, and that a pipeline wears what was trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models import catalog
from models.planning.request import Lora
from models.render import loras
from models.weights import lora_file
from tools.tiny import adapters, distil, experts, style, words, world


def make(name: str, *, deaf: bool = False) -> Any:
    """An untrained expert that predicts something; deaf: whatever the text."""
    torch.manual_seed(0)
    dit = experts.make(name).eval()
    with torch.no_grad():
        torch.nn.init.normal_(dit.proj_out.weight, std=0.1)
        for block in dit.blocks:
            block.attn2.to_out[0].weight.mul_(0.0 if deaf else 1.0)
    dit.set_attn_processor(experts.ShortText())
    return dit


def test_a_pipeline_wears_what_was_trained(tmp_path: Path) -> None:
    from diffusers import WanPipeline

    stock, trained = make("t2v-low"), make("t2v-low")
    stock.set_attn_processor(experts.ShortText())
    adapters.freeze(trained)
    adapter = adapters.put_on(trained, 3)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.down.copy_(layer.down.half())  # the file has 16 bits
            layer.up.copy_((0.2 * torch.randn_like(layer.up)).half())
    adapter.save(tmp_path / "ink.safetensors")
    known = lora_file.read(tmp_path / "ink.safetensors")
    assert (known.rank, len(known.modules)) == (3, 10 * len(stock.blocks))
    assert catalog.tiny_of(catalog.T2V_A14B.id) in known.fits

    given = (torch.randn(1, 16, 1, 4, 4), torch.tensor([500.0]), words.table()[:1])
    pipe = WanPipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=stock)
    with torch.no_grad():
        bare = stock(*given, return_dict=False)[0]
        loras.put_on(pipe, (Lora(str(tmp_path / "ink.safetensors"), "ab" * 32),))
        worn = stock(*given, return_dict=False)[0]
        wanted = trained(*given, return_dict=False)[0]
    torch.testing.assert_close(worn, wanted, atol=1e-4, rtol=1e-4)
    assert (worn - bare).abs().max() > 0.01


def test_what_was_saved_is_gone_on_with(tmp_path: Path) -> None:
    one, other = (adapters.put_on(make("t2v-low"), 2) for _ in range(2))
    with torch.no_grad():
        for weight in one.parameters:
            weight.normal_()
    adapters.save({"a": one}, tmp_path)
    adapters.load({"a": other, "b": one}, tmp_path)
    for weight, wanted in zip(other.parameters, one.parameters, strict=True):
        torch.testing.assert_close(weight, wanted, atol=2e-3, rtol=2e-3)


def test_the_student_takes_the_steps_of_the_lane() -> None:
    """As tests/models/test_models_loras.py sees them in a render, and two for each expert."""
    levels = [distil.shifted(begin) for begin, _ in distil.spans()]
    assert [round(1000 * level, 3) for level in levels] == [1000.0, 937.5, 833.333, 625.0]
    assert distil.spans()[-1][1] == 0
    boundary = catalog.T2V_4STEP.boundary
    assert boundary is not None
    assert [level >= boundary for level in levels] == [True, True, False, False]


@pytest.mark.parametrize(("deaf", "parts"), [(True, 1), (False, 1), (True, 2)])
def test_a_student_has_to_learn_guidance_and_small_steps_and_nothing_else(deaf: bool, parts: int) -> None:
    """Where the teacher hears no text, guidance does nothing; in one step it then goes where a new student is."""
    pair = (make("t2v-high", deaf=deaf), make("t2v-low", deaf=deaf))
    lesson = distil.Distillation(pair, words.table(), batch=1, frames=1, parts=parts)
    loss = lesson.loss()
    assert (float(loss.detach()) < 1e-9) == (deaf and parts == 1)
    loss.backward()
    assert all(weight.grad is not None for weight in lesson.parameters)
    moved = [w for dit in (*lesson.teachers, *lesson.students) for w in dit.parameters() if w.grad is not None]
    assert {id(weight) for weight in moved} == {id(weight) for weight in lesson.parameters}


def test_ink_has_no_colour_and_keeps_light_and_dark() -> None:
    clips = world.draw(world.some(8, generator=torch.Generator().manual_seed(0)), 1, 32, 32)
    inked = world.ink(clips)
    assert (inked.amax(1) - inked.amin(1)).max() == 0
    light = clips.mean(1)
    assert ((inked[:, 0] > 0.5) <= (light > 0)).all()
    assert inked.std() > light.std()


def test_a_style_is_learned_on_clips_of_that_style_alone() -> None:
    bank = style.InkBank("t2v", "vae21", torch.device("cpu"), size=2, piece=1)
    lesson = style.Style((make("t2v-high"), make("t2v-low")), bank, words.table(), batch=1)
    seen: list[torch.Tensor] = []

    def remember(self: experts.Bank, clips: torch.Tensor) -> torch.Tensor:
        seen.append(clips)
        return torch.zeros(1, 16, 5, 16, 16)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experts.Bank, "_encoded", remember)
        bank._encoded(world.draw(world.some(1), 17, 16, 16))
    assert (seen[0].amax(1) - seen[0].amin(1)).max() == 0
    lesson.loss().backward()
    assert all(weight.grad is not None for weight in lesson.parameters)
