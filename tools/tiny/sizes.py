"""The sizes of the tiny models, in the words of diffusers' own classes."""

from typing import Any

from tools.tiny.words import WIDTH

VAES: dict[str, dict[str, Any]] = {
    # Wan 2.1's kind: 16 channels, 4x8x8
    "vae21": {
        "base_dim": 8,
        "z_dim": 16,
        "dim_mult": [1, 2, 3, 3],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
    },
    # Wan 2.2's kind: 48 channels, 4x16x16, pixels in patches of two
    "vae22": {
        "base_dim": 12,
        "decoder_base_dim": 12,
        "z_dim": 48,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
    },
}
_DIT: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "text_dim": WIDTH,
    "freq_dim": 64,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
}
_A14B = {**_DIT, "num_attention_heads": 4, "attention_head_dim": 24, "ffn_dim": 288, "num_layers": 4}
#: a token of the 5B-like one is 192 numbers of noise, and a narrower stream could not carry them
_5B = {**_DIT, "num_attention_heads": 6, "attention_head_dim": 32, "ffn_dim": 192, "num_layers": 3}
DITS: dict[str, dict[str, Any]] = {
    "t2v": {**_A14B, "in_channels": 16, "out_channels": 16},
    "i2v": {**_A14B, "in_channels": 36, "out_channels": 16},
    "ti2v": {**_5B, "in_channels": 48, "out_channels": 48},
}
FRAMES = 17
#: pixels of a side: the 5B-like model draws larger, its VAE squeezes more
SIDES = {"vae21": 128, "vae22": 256}
