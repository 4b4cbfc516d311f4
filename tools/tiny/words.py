"""The words of the drawn world: a tokenizer that drops all others, a UMT5 that is a table of them, and captions."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.tiny.world import SLOTS

#: words that mean the same as the first of their line
_SAME = """
red crimson scarlet
green
blue
yellow golden gold
white
purple violet
orange
circle ball disc disk circles balls
square box block squares
triangle pyramid triangles
star stars
heart hearts
left leftwards
right rightwards
up upwards rises rise rising
down downwards falls fall falling sinks
grows grow growing bigger larger expands
shrinks shrink shrinking smaller
turns turn turning spins spin spinning rotates rotating
jumps jump jumping hops bounces bouncing
day sunny sunshine meadow grass hills
night moon dark moonlight
snow snowy snowfall winter
water sea ocean lake waves
"""
WIDTH = 64
#: tokens of a caption at most, its end included; what a prompt has beyond is empty anyway
TOKENS = 8
_SPECIAL = ("<pad>", "</s>", "<unk>")
#: how much the encoder's layer adds to a word: little, so that the order of the words matters little
_CONTEXT = 0.05
#: where the real text encoder's output ends
PADDED = 512


def vocabulary() -> list[str]:
    """Every token, its number being its place."""
    return [*_SPECIAL, *_SAME.split()]


def tokenizer() -> Any:
    """Lower-cases, keeps the words of the world, and drops every other one together with all punctuation."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = vocabulary()
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    known = "|".join(words[len(_SPECIAL) :])
    made.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\p{L}\p{N}]+"), " "),
            normalizers.Replace(Regex(rf"(?<!\S)(?!(?:{known})(?!\S))\S+"), ""),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def encoder() -> Any:
    """A UMT5 of one layer. Words of one meaning share their row; rows of different meaning are orthogonal."""
    from transformers import UMT5Config, UMT5EncoderModel

    words = vocabulary()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = UMT5Config(
            vocab_size=len(words), d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0
        )
        model = UMT5EncoderModel(config).eval()
        rows = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0] * WIDTH**0.5
    meaning = {word: number for number, line in enumerate(_SAME.split("\n")) for word in line.split()}
    with torch.no_grad():
        for number, word in enumerate(words):
            row = number if word in _SPECIAL else len(_SPECIAL) + meaning[word]
            model.shared.weight[number] = rows[row]
        block = model.encoder.block[0]
        block.layer[0].SelfAttention.o.weight.mul_(_CONTEXT)
        block.layer[1].DenseReluDense.wo.weight.mul_(_CONTEXT)
    return model


def caption(named: tuple[int, ...]) -> str:
    """The caption of one word from each slot; a number past a slot's last word leaves it out."""
    said = [words[number] if number < len(words) else "" for words, number in zip(SLOTS, named, strict=True)]
    colour, shape, motion, scene = said
    moves = f"moves {motion}" if motion in ("left", "right", "up", "down") else motion
    return " ".join(part for part in ("a" if colour or shape else "", colour, shape, moves, scene) if part)


def table() -> Tensor:
    """What the encoder makes of every caption: (captions, TOKENS, WIDTH), in the order of `row`."""
    from itertools import product

    said = [caption(named) for named in product(*(range(len(words) + 1) for words in SLOTS))]
    tokens = tokenizer()(said, padding="max_length", max_length=TOKENS, return_tensors="pt")
    with torch.no_grad():
        made = encoder()(tokens.input_ids, tokens.attention_mask).last_hidden_state
    return made * tokens.attention_mask[..., None]


def row(named: Tensor, keep: Tensor | None = None) -> Tensor:
    """Which row of the table: named (B, 4), keep (B, 4) whether a slot is said. (B,)"""
    out = torch.zeros_like(named[:, 0])
    for slot, words in enumerate(SLOTS):
        number = named[:, slot]
        if keep is not None:
            number = torch.where(keep[:, slot], number, len(words))
        out = out * (len(words) + 1) + number
    return out


def save(folder: Path) -> None:
    """tokenizer/, text_encoder/ and table.safetensors, so that who trains needs no transformers."""
    from safetensors.torch import save_file

    tokenizer().save_pretrained(str(folder / "tokenizer"))
    encoder().save_pretrained(str(folder / "text_encoder"), safe_serialization=True)
    save_file({"table": table().contiguous()}, folder / "table.safetensors")


def load_table(folder: Path) -> Tensor:
    from safetensors.torch import load_file

    return load_file(folder / "table.safetensors")["table"]
