"""What a device does with the pieces of a model alone: matrix products, attention kernels, the VAE in its number
formats. They tell why a step takes what it takes, and which of the choices in models.acceleration.tuning
are right."""

import copy
from collections.abc import Callable
from typing import Any

from bench.gpu.clock import Clock
from bench.gpu.measure import Setting, decode, error_of
from models.acceleration import tuning
from models.catalog.model import Model
from models.catalog.shape import tokens

_ATTENTIONS = ("native", "_native_cudnn", "_native_flash", "_flash_3", "sage")


def matmul_tflops(clock: Clock) -> float:
    """What the device's own matrix product reaches on random numbers, TFLOP/s: the rate that all is a share of."""
    import torch

    side, times = (8192, 40) if clock.device.type == "cuda" else (256, 4)
    a, b = (torch.randn(side, side, device=clock.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / _mean_s(clock, lambda: a @ b, times) / 1e12


def kernels(clock: Clock, setting: Setting) -> dict[str, Any]:
    """TFLOP/s of each attention backend and of the linears, in bf16 and in fp8, at a model's own sizes."""
    model = setting.model
    count = tokens(model, setting.width, setting.height, setting.frames)
    return {
        "attention_tflops": {name: _tried(lambda n=name: _attention(clock, model, count, n)) for name in _ATTENTIONS},
        "linear_tflops": {
            "bf16": _tried(lambda: _linear(clock, model, count)),
            "fp8 by row": _tried(lambda: _linear_fp8(clock, model, count)),
        },
    }


def vae_forms(clock: Clock, vae: Any, setting: Setting) -> dict[str, Any]:
    """Seconds, peak GB and error in percent of decoding a clip in each number format, and seconds of encoding it again.
    vae: in fp32, and left so."""
    import torch

    time, high, wide = setting.model.vae_stride
    shape = (1 + (setting.frames - 1) // time, setting.height // high, setting.width // wide)
    latents = torch.randn(1, vae.config.z_dim, *shape, device=clock.device)
    told: dict[str, Any] = {"decode": {}, "encode_s": {}}
    exact = None
    for name, form in _FORMS.items():
        clock.check()
        mine = copy.deepcopy(vae)
        form(mine)
        with _tf32(name.endswith("tf32")):
            decode(mine, latents[:, :, :1])  # kernels are chosen
            clock.forget_peak()
            begun = clock.now()
            frames = decode(mine, latents)
            told["decode"][name] = {"s": clock.now() - begun, "peak_gb": clock.peak_gb()}
            shown = frames.cpu()
            exact = shown if exact is None else exact
            told["decode"][name]["error_percent"] = error_of(shown, exact)
            begun = clock.now()
            _encode(mine, frames)
            told["encode_s"][name] = clock.now() - begun
        del mine, frames
    return told


def _layout(vae: Any) -> None:
    tuning.set_vae(vae, "bf16")


def _half(vae: Any) -> None:
    import torch

    vae.to(torch.bfloat16)


_FORMS: dict[str, Callable[[Any], None]] = {
    "fp32": lambda vae: None,
    "fp32, tf32": lambda vae: None,
    "bf16": _half,
    "bf16, channels last": _layout,
}


def _encode(vae: Any, frames: Any) -> Any:
    import torch

    with torch.no_grad():
        return vae.encode(frames.to(vae.dtype)).latent_dist.mode()


class _tf32:
    """What convolutions may do with fp32 while this lasts."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed

    def __enter__(self) -> None:
        import torch

        self._before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = self._allowed

    def __exit__(self, *_: Any) -> None:
        import torch

        torch.backends.cudnn.allow_tf32 = self._before


def _attention(clock: Clock, model: Model, count: int, backend: str) -> float:
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    tuning.require_attention(backend)
    wide = 128 if model.dit.dim >= 1024 else 8
    q, k, v = (
        torch.randn(1, count, model.dit.dim // wide, wide, device=clock.device, dtype=torch.bfloat16) for _ in range(3)
    )
    name = AttentionBackendName(backend)
    seconds = _mean_s(clock, lambda: dispatch_attention_fn(q, k, v, backend=name), 5)
    return 4 * count**2 * model.dit.dim / seconds / 1e12


def _linear(clock: Clock, model: Model, count: int) -> float:
    import torch

    d, f = model.dit.dim, model.dit.ffn
    x, weight, bias = (
        torch.randn(*shape, device=clock.device, dtype=torch.bfloat16) for shape in ((count, d), (f, d), (f,))
    )
    return 2 * count * d * f / _mean_s(clock, lambda: torch.nn.functional.linear(x, weight, bias), 10) / 1e12


def _linear_fp8(clock: Clock, model: Model, count: int) -> float:
    """The product alone: what torchao's rounding of the input adds is in the fp8 row."""
    import torch

    d, f = model.dit.dim, model.dit.ffn
    x, weight = (
        torch.randn(*shape, device=clock.device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
        for shape in ((count, d), (f, d))
    )
    by_row, by_column = (torch.ones(*shape, device=clock.device) for shape in ((count, 1), (1, f)))

    def product() -> Any:
        return torch._scaled_mm(x, weight.t(), scale_a=by_row, scale_b=by_column, out_dtype=torch.bfloat16)

    return 2 * count * d * f / _mean_s(clock, product, 10) / 1e12


def _mean_s(clock: Clock, work: Callable[[], Any], times: int) -> float:
    for _ in range(3):
        work()
    begun = clock.now()
    for _ in range(times):
        work()
    return (clock.now() - begun) / times


def _tried(work: Callable[[], float]) -> float | str:
    """What it gives, or why it gives nothing: a kernel that is not there is no failure of the row."""
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
