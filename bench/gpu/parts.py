"""What a device does with the pieces of a model alone: matrix products, attention kernels, the VAE in its number
formats. They tell why a step takes what it takes, and which of the choices in models.acceleration.tuning
are right."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu.clock import Clock
from bench.gpu.measure import Setting, decode, error_of
from models.acceleration import fused_vae, tuning
from models.acceleration import kernels as own
from models.acceleration.attention import FLASH_3, Attend, attend_with
from models.catalog.model import Model
from models.catalog.shape import tokens

_ATTENTIONS = ("native", "_native_cudnn", "_native_flash", "_flash_3", "sage", FLASH_3)
#: of a text: its 512 keys
_TEXT_ATTENTIONS = ("_native_cudnn", "_native_flash", FLASH_3)


def matmul_tflops(clock: Clock) -> float:
    """What the device's own matrix product reaches on random numbers, TFLOP/s: the rate that all is a share of."""
    import torch

    side, times = (8192, 40) if clock.device.type == "cuda" else (256, 4)
    a, b = (torch.randn(side, side, device=clock.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / _mean_s(clock, lambda: a @ b, times) / 1e12


def sustained_tflops(clock: Clock, seconds: float) -> float:
    """The same rate when the device has worked for a while: under its power limit the clock goes down."""
    import torch

    side = 8192 if clock.device.type == "cuda" else 256
    a, b = (torch.randn(side, side, device=clock.device, dtype=torch.bfloat16) for _ in range(2))
    end = clock.now() + seconds
    while clock.now() < end:
        for _ in range(20):
            a @ b
    return 2 * side**3 / _mean_s(clock, lambda: a @ b, 40) / 1e12


def copy_gbs(clock: Clock) -> float:
    """Bytes read and written per second of a copy on the device, GB/s."""
    import torch

    count = 2**31 if clock.device.type == "cuda" else 2**20
    a = torch.randint(0, 255, (count,), dtype=torch.uint8, device=clock.device)
    b = torch.empty_like(a)
    return 2 * count / _mean_s(clock, lambda: b.copy_(a), 10) / 1e9


def kernels(clock: Clock, setting: Setting) -> dict[str, Any]:
    """TFLOP/s of each attention backend and of the linears, in bf16 and in fp8, at a model's own sizes; milliseconds of
    what lies between them."""
    model = setting.model
    count = tokens(model, setting.width, setting.height, setting.frames)
    whole = (count + 127) // 128 * 128
    d, f = model.dit.dim, model.dit.ffn
    shapes = {"qkv": (3 * d, d), "out": (d, d), "up": (f, d), "down": (d, f)}
    return {
        "attention_tflops": {
            name: _tried(lambda n=name: _attention(clock, model, count, count, n)) for name in _ATTENTIONS
        },
        "text_attention_tflops": {
            name: _tried(lambda n=name: _attention(clock, model, count, 512, n)) for name in _TEXT_ATTENTIONS
        },
        "linear_tflops": {
            **{
                f"{name} {rows}": _tried(lambda r=rows, s=shape: _product(clock, r, *s))
                for name, shape in shapes.items()
                for rows in (count, whole)
            },
            "up and GELU": _tried(lambda: _product(clock, count, f, d, gelu="in the product")),
            "up, then GELU": _tried(lambda: _product(clock, count, f, d, gelu="after it")),
            "fp8 by row": _tried(lambda: _linear_fp8(clock, model, count)),
        },
        "between_ms": _tried(lambda: _between(clock, count, d)),
    }


def approximations(clock: Clock, setting: Setting) -> dict[str, Any]:
    """TFLOP/s and error in percent of attentions that compute in 8 bits, beside the exact one."""
    import torch

    model = setting.model
    count, d = tokens(model, setting.width, setting.height, setting.frames), model.dit.dim
    wide = 128 if d >= 1024 else 8
    q, k, v = (torch.randn(1, 4096, d // wide, wide, device=clock.device, dtype=torch.bfloat16) for _ in range(3))
    return {
        "attention_tflops": {"fa3-fwd, 8 bits": _tried(lambda: _rate(clock, model, count, count, _flash_3_8bit))},
        "attention_error_percent": {
            "fa3-fwd, 8 bits": _tried(lambda: error_of(_flash_3_8bit(q, k, v), attend_with("native")(q, k, v)))
        },
    }


def _flash_3_8bit(q: Any, k: Any, v: Any) -> Any:
    """8-bit numbers, one scale for each head."""
    import fa3_fwd_interface
    import torch

    def rounded(x: Any) -> tuple[Any, Any]:
        most = x.abs().amax(dim=(1, 3)).float().clamp(min=1e-6) / 448
        return (x / most[:, None, :, None].to(x.dtype)).to(torch.float8_e4m3fn), most

    (q8, qs), (k8, ks), (v8, vs) = rounded(q), rounded(k), rounded(v)
    return fa3_fwd_interface._flash_attn_forward(
        q8, k8, v8, softmax_scale=q.shape[-1] ** -0.5, q_descale=qs, k_descale=ks, v_descale=vs
    )[0]


def _between(clock: Clock, count: int, d: int) -> Any:
    """The pieces of models.acceleration.kernels, and the bytes per second that each reaches."""
    import torch

    x, a = (torch.randn(count, d, device=clock.device, dtype=torch.bfloat16) for _ in range(2))
    qkv = torch.randn(count, 3 * d, device=clock.device, dtype=torch.bfloat16)
    one, two = (torch.randn(d, device=clock.device) for _ in range(2))
    w = torch.randn(2, d, device=clock.device, dtype=torch.bfloat16)
    cos, sin = (torch.randn(count, 64 if d % 128 == 0 else 4, device=clock.device) for _ in range(2))
    passes = {
        "norm": (2, lambda: own.norm(x, one, two, eps=1e-6)),
        "sum and norm": (4, lambda: own.norm(x, one, two, eps=1e-6, a=a, gate=one)),
        "sum": (3, lambda: own.add(x, a, one)),
        "norms and rope": (4, lambda: own.rms_rope(qkv, w, eps=1e-6, rotary=(cos, sin))),
        "norm of the query": (2, lambda: own.rms_rope(x, w[:1], eps=1e-6)),
    }
    found = {}
    for name, (times, work) in passes.items():
        seconds = _mean_s(clock, work, 10)
        found[name] = {"ms": 1e3 * seconds, "gbs": times * count * d * 2 / seconds / 1e9}
    return found


def vae_forms(
    clock: Clock,
    vae: Any,
    setting: Setting,
    tell: Callable[[dict[str, Any]], None],
    *,
    forms: tuple[str, ...],
    encode: bool = True,
    profile: Path | None = None,
) -> dict[str, Any]:
    """Seconds, peak GB and error in percent of decoding a clip in each number format, and seconds of encoding it again.
    vae: in fp32, and left so. The error is against the first form."""
    import torch

    time, high, wide = setting.model.vae_stride
    shape = (1 + (setting.frames - 1) // time, setting.height // high, setting.width // wide)
    latents = torch.randn(1, vae.config.z_dim, *shape, device=clock.device)
    told: dict[str, Any] = {"decode": {}, "encode_s": {}}
    exact = None
    for name in forms:
        form = _FORMS[name]
        clock.check()
        mine = copy.deepcopy(vae)
        form(mine)
        with _tf32(name.endswith("tf32")), _benchmark(name.endswith("tried out")):
            warm_s = clock.now()
            # kernels are chosen; compiled: the first, the second and every other piece are three graphs
            decode(mine, latents[:, :, :3])
            warm_s = clock.now() - warm_s
            clock.forget_peak()
            begun = clock.now()
            frames = decode(mine, latents)
            told["decode"][name] = {"s": clock.now() - begun, "peak_gb": clock.peak_gb(), "warm_s": warm_s}
            shown = frames.cpu()
            exact = shown if exact is None else exact
            told["decode"][name]["error_percent"] = error_of(shown, exact)
            if encode and "compiled" not in name:
                begun = clock.now()
                _encode(mine, frames)
                told["encode_s"][name] = clock.now() - begun
            if profile is not None and name in ("bf16, channels last", "fused"):
                _profile(clock, name, mine, latents[:, :, :3], profile)
        print(f"         {name}: {told['decode'][name]}", flush=True)
        tell(told)
        del mine, frames
    return told


def _profile(clock: Clock, name: str, vae: Any, latents: Any, path: Path) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as looking

    from bench.gpu.blocks import write_profile

    with looking(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        decode(vae, latents)
        clock.now()
    write_profile(f"VAE, three latent frames: {name}", seen, path)


def _layout(vae: Any) -> None:
    tuning.set_vae(vae, "bf16")


def _half(vae: Any) -> None:
    import torch

    vae.to(torch.bfloat16)


def _fused(vae: Any) -> None:
    _layout(vae)
    fused_vae.fuse(vae)


def _compiled(vae: Any) -> None:
    import torch

    _layout(vae)
    vae.decoder.forward = torch.compile(vae.decoder.forward, dynamic=False)


_FORMS: dict[str, Callable[[Any], None]] = {
    "fp32": lambda vae: None,
    "fp32, tf32": lambda vae: None,
    "bf16": _half,
    "bf16, channels last": _layout,
    "fused": _fused,
    "fused, kernels tried out": _fused,
    "compiled": _compiled,
}
FORMS = tuple(_FORMS)


def _encode(vae: Any, frames: Any) -> Any:
    import torch

    with torch.no_grad():
        return vae.encode(frames.to(vae.dtype)).latent_dist.mode()


class _benchmark:
    """Whether cuDNN tries its kernels out for each shape while this lasts."""

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed

    def __enter__(self) -> None:
        import torch

        torch.backends.cudnn.benchmark = self._allowed

    def __exit__(self, *_: Any) -> None:
        import torch

        torch.backends.cudnn.benchmark = False


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


def _attention(clock: Clock, model: Model, count: int, keys: int, name: str) -> float:
    if name != FLASH_3:
        tuning.require_attention(name)
    return _rate(clock, model, count, keys, attend_with(name))


def _rate(clock: Clock, model: Model, count: int, keys: int, attend: Attend) -> float:
    import torch

    wide = 128 if model.dit.dim >= 1024 else 8
    q, k, v = (
        torch.randn(1, n, model.dit.dim // wide, wide, device=clock.device, dtype=torch.bfloat16)
        for n in (count, keys, keys)
    )
    return 4 * count * keys * model.dit.dim / _mean_s(clock, lambda: attend(q, k, v), 8) / 1e12


def _product(clock: Clock, rows: int, wide: int, deep: int, gelu: str = "") -> float:
    import torch

    x, weight, bias = (
        torch.randn(*shape, device=clock.device, dtype=torch.bfloat16)
        for shape in ((rows, deep), (wide, deep), (wide,))
    )

    def work() -> Any:
        if gelu == "in the product":
            return torch._addmm_activation(bias, x, weight.t(), use_gelu=True)
        y = torch.nn.functional.linear(x, weight, bias)
        return torch.nn.functional.gelu(y, approximate="tanh") if gelu else y

    return 2 * rows * deep * wide / _mean_s(clock, work, 10) / 1e12


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
