"""A LoRA file is judged by its bytes alone: what it must not be, what it says, and which models it fits."""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from models import catalog
from models.weights import lora_file, tiny
from models.weights.lora_file import LoraError, LoraReader

Q = "diffusion_model.blocks.0.self_attn.q"


def judged(data: bytes, block: int = 1 << 20) -> lora_file.Anatomy:
    reader = LoraReader(len(data))
    for start in range(0, len(data), block):
        reader.feed(data[start : start + block])
    return reader.done()


def pair(inward: int = 96, outward: int = 96, rank: int = 4, name: str = Q, **more: Any) -> dict[str, torch.Tensor]:
    made = {f"{name}.lora_down.weight": torch.ones(rank, inward), f"{name}.lora_up.weight": torch.ones(outward, rank)}
    return made | {f"{name}.{end}": value for end, value in more.items()}


def saved(tensors: Mapping[str, Any]) -> bytes:
    return bytes(save(dict(tensors)))


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("block", [1 << 20, 7, 1])
def test_a_good_file_in_blocks_of_any_length(tmp_path: Path, block: int) -> None:
    tiny.lora_file(tmp_path / "a", seed=1, rank=3)
    anatomy = judged((tmp_path / "a").read_bytes(), block)
    assert (anatomy.rank, len(anatomy.modules), anatomy.ignored) == (3, 40, 0)
    assert anatomy.modules["blocks.1.ffn.2"] == (288, 96)
    deep = {f"wan2.2-{kind}-a14b{steps}-tiny" for kind in ("t2v", "i2v") for steps in ("", "-4step")}
    assert deep < set(anatomy.fits)
    assert all(catalog.get(model).dit.layers >= 4 for model in anatomy.fits)
    shallow = judged(saved(pair()), block).fits
    assert {"wan2.2-t2v-a14b-tiny", "wan2.2-i2v-a14b-4step-tiny", "wan2.2-animate-14b-tiny"} <= set(shallow)
    assert judged(saved(pair(192, 192)), block).fits == ("wan2.2-ti2v-5b-tiny",)
    # 8-bit weights and Animate 2 wear none
    assert not [model for model in anatomy.fits if "fp8" in model or "animate-2" in model]


def test_the_widths_tell_the_family() -> None:
    for dim, family in ((5120, "a14b"), (3072, "ti2v-5b")):
        fits = judged(saved(pair(dim, dim))).fits
        assert fits
        assert all(family in model or "animate-14b" in model for model in fits), fits
    deep = judged(saved(pair(5120, 5120, name="blocks.39.self_attn.q"))).fits
    assert "wan2.2-i2v-a14b-4step" in deep
    assert judged(saved(pair(3072, 14336, name="blocks.29.ffn.0"))).fits == ("wan2.2-ti2v-5b",)


def test_half_precision_biases_and_what_is_ignored() -> None:
    tensors = pair(alpha=torch.tensor(2.0), diff_b=torch.ones(96)) | pair(name="blocks.1.cross_attn.o")
    tensors |= {
        "diffusion_model.blocks.0.norm3.diff": torch.ones(96),
        "diffusion_model.patch_embedding.diff_b": torch.ones(96),
    }
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        anatomy = judged(saved({name: tensor.to(kind) for name, tensor in tensors.items()}), 5)
        assert (len(anatomy.modules), anatomy.ignored) == (2, 2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ends before its header"),
        (pickle.dumps({"a": 1}, protocol=2), "a pickle, not a safetensors"),
        (b"GGUF" + bytes(100), "GGUF"),
        (b"hello, I am a text", "does not begin with a header"),
        (struct.pack("<Q", 2**60) + b"{}" + bytes(90), "does not begin with a header"),
        (file_of(b"{" + b" " * (5 << 20)), "4194304 are allowed"),
        (file_of(b'{"a": '), "cannot be read"),
        (file_of(b'{"a": NaN}'), "NaN is not JSON"),
        (file_of(b"{" + b'"a":[' * 100_000 + b"}"), "cannot be read"),
        (file_of(b'{"a": {}, "a": {}}'), "stands in it twice"),
        (file_of({"a": 5}), "the header lies"),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), "there are 0"),
        (file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "as many bytes"),
        (file_of({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, bytes(4)), "not one of a tensor"),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4.0]}}, bytes(4)), "not one of a tensor"),
        (file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)), "do not begin where"),
        (file_of({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)), "do not begin"),
        (file_of({"a": {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)), "save the LoRA in F32"),
        # what Python's json reads and the engine's reader does not
        (file_of('{"__metadata__": {}}'.encode("utf-16-le")), "cannot be read"),
        (file_of({"__metadata__": {"steps": 5}}), "not texts under names"),
        (file_of({"__metadata__": [[]]}), "not texts under names"),
        (file_of({"__metadata__": {"note": "\ud800"}}), "not texts under names"),
        # an answer in JSON cannot hold half a character
        (file_of({"\ud800.dora_scale": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, bytes(4)), "no name"),
        (file_of({"a": {"dtype": "\ud800", "shape": [], "data_offsets": [0, 4]}}, bytes(4)), r"stored as '\\ud800'"),
    ],
)
def test_what_is_no_file_of_tensors(data: bytes, says: str) -> None:
    for block in (1 << 20, 3):
        with pytest.raises(LoraError, match=says):
            judged(data, block if len(data) < 1000 else 1 << 20)


def test_headers_that_would_hold_up_the_gateway() -> None:
    # each beginning that is taken off copies the rest: minutes, while nobody else is answered
    with pytest.raises(LoraError, match="no name of a tensor"):
        judged(file_of({"model." * 600_000 + "alpha": {}}))
    with pytest.raises(LoraError, match="10001 tensors; 10000 are allowed"):
        judged(file_of({f"blocks.{n}.self_attn.q.alpha": {} for n in range(10_001)}))


def test_a_pytorch_file_by_another_name(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(3)}, tmp_path / "lora.safetensors")
    assert zipfile.is_zipfile(tmp_path / "lora.safetensors")
    with pytest.raises(LoraError, match=r"zip or PyTorch file.*save_file"):
        lora_file.read(tmp_path / "lora.safetensors")
    (tmp_path / "cut").write_bytes(saved(pair())[:-5])
    with pytest.raises(LoraError, match="there are 3067"):
        lora_file.read(tmp_path / "cut")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (pair(1536, 1536), "1536 wide; those of the models here are 5120"),
        (pair(96, 96, name="blocks.9.self_attn.q"), "none here has 10 blocks"),
        (pair(96, 97), "another model"),
        (pair(name="lora_unet_down_blocks_0_attentions_0_proj_in"), "no part of a LoRA for Wan"),
        (pair(name="double_blocks.0.img_attn.qkv"), "Wan 2.2 has no double_blocks.0"),
        (pair(name="blocks.0.self_attn.norm_q"), "Wan 2.2 has no blocks.0.self_attn.norm_q"),
        (pair(name="lora_te1_encoder_layers_0"), "for a text encoder"),
        ({f"{Q}.hada_w1_a": torch.ones(2, 2)}, "a LoHa"),
        (pair(dora_scale=torch.ones(96)), "a DoRA"),
        ({"model.embed.weight": torch.ones(2, 2)}, "no part of a LoRA"),
        ({f"{Q}.lora_down.weight": torch.ones(4, 96)}, "no pair"),
        ({f"{Q}.alpha": torch.tensor(4.0)}, "no pair"),
        (pair() | {"blocks.0.attn1.to_q.lora_A.weight": torch.ones(4, 96)}, "same part of the same module"),
        (pair() | {f"{Q}.lora_up.weight": torch.ones(96, 5)}, "do not belong together"),
        (pair() | {f"{Q}.lora_up.weight": torch.ones(96, 4, 1, 1)}, "do not belong together"),
        (pair(name="text_embedding.2"), "changes no block"),
        (pair(rank=513), "rank 513 is more than 512"),
        (pair(alpha=torch.tensor(0.0)), "alpha is 0; for a rank of 4"),
        (pair(alpha=torch.tensor(257.0)), "at most 256"),
        (pair(alpha=torch.tensor(float("inf"))), "not finite"),
        (pair(alpha=torch.ones(4)), "not one number"),
        (pair(alpha=torch.ones(2)), "not one number"),
        (pair(diff_b=torch.ones(95)), "bias"),
        (pair(diff_b=torch.full((96,), float("nan"))), "not finite"),
    ],
)
def test_what_is_no_lora_for_wan(tensors: Mapping[str, Any], says: str) -> None:
    with pytest.raises(LoraError, match=says):
        judged(saved(tensors))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_one_bad_number_anywhere_is_found(kind: torch.dtype) -> None:
    for where in (0, 95):
        for value in (np.nan, np.inf, -np.inf):
            tensors = pair()
            tensors[f"{Q}.lora_up.weight"].view(-1)[where] = value
            with pytest.raises(LoraError, match="not finite"):
                judged(saved({name: tensor.to(kind) for name, tensor in tensors.items()}), 13)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 10.5, -11, True, "1", None, 10**400])
def test_strengths_that_are_none(scale: Any) -> None:
    with pytest.raises(LoraError, match="between -10 and 10"):
        lora_file.checked_scale(scale)


def test_strengths_are_kept_to_four_decimals() -> None:
    assert [lora_file.checked_scale(scale) for scale in (1, 0.8, 1 / 3, -0.00001)] == [1.0, 0.8, 0.3333, 0.0]
