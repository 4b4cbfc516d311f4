"""Every model that a job may name: what it is, what it accepts, what it costs to run. Pure; everyone may read it.

A pipeline is added by adding an entry here. Sources: the Wan 2.2 repository's configurations (steps, shift,
guidance, boundary). The vocabulary is in models.catalog.model, the rules in models.catalog.shape.
"""

from dataclasses import replace

from models.catalog import networks
from models.catalog.model import (
    MODULAR,
    Defaults,
    Dit,
    Limits,
    LoraFile,
    Model,
    ShapeError,
    Weights,
)

_T2V = {"t2v": ()}
_I2V = {"i2v": ("image",), "flf2v": ("image", "last_image")}
_TI2V = {"t2v": (), "i2v": ("image",)}

T2V_A14B = Model(
    id="wan2.2-t2v-a14b",
    title="Wan 2.2 text to video, 2 x 14B experts",
    tasks=_T2V,
    pipeline={"t2v": "WanPipeline"},
    weights=Weights(repo="Wan-AI/Wan2.2-T2V-A14B-Diffusers", revision="5be7df9619b54f4e2667b2755bc6a756675b5cd7"),
    dit=Dit(5120, 13824, 40, 16, 16),
    defaults=Defaults(832, 480, 81, 16, 40, 4.0, 3.0, 12.0),
    boundary=0.875,
)
I2V_A14B = Model(
    id="wan2.2-i2v-a14b",
    title="Wan 2.2 image to video, 2 x 14B experts",
    tasks=_I2V,
    pipeline={"i2v": "WanImageToVideoPipeline", "flf2v": "WanImageToVideoPipeline"},
    weights=Weights(repo="Wan-AI/Wan2.2-I2V-A14B-Diffusers", revision="596658fd9ca6b7b71d5057529bbf319ecbc61d74"),
    dit=Dit(5120, 13824, 40, 36, 16),
    defaults=Defaults(832, 480, 81, 16, 40, 3.5, 3.5, 5.0),
    boundary=0.9,
)
TI2V_5B = Model(
    id="wan2.2-ti2v-5b",
    title="Wan 2.2 text or image to video, 5B",
    tasks=_TI2V,
    pipeline={"t2v": "WanPipeline", "i2v": "WanImageToVideoPipeline"},
    weights=Weights(repo="Wan-AI/Wan2.2-TI2V-5B-Diffusers", revision="b8fff7315c768468a5333511427288870b2e9635"),
    dit=Dit(3072, 14336, 30, 48, 48),
    defaults=Defaults(1280, 704, 121, 24, 50, 5.0, None, 5.0),
    limits=Limits(multiple=32, fills_area=True),
    vae_stride=(4, 16, 16),
)


ANIMATE_14B = Model(
    id="wan2.2-animate-14b",
    title="Wan 2.2 Animate: a character moves as a clip's person does, or takes that person's place",
    tasks={"animate": ("image", "video"), "replace": ("image", "video")},
    optional={
        "animate": ("pose_video", "face_video"),
        "replace": ("pose_video", "face_video", "background_video", "mask_video"),
    },
    pipeline={"animate": "WanAnimatePipeline", "replace": "WanAnimatePipeline"},
    # its commit is not known here
    weights=Weights(repo="Wan-AI/Wan2.2-Animate-14B-Diffusers"),
    dit=Dit(5120, 13824, 40, 36, 16, extra=2_986_000_000),
    defaults=Defaults(832, 480, 77, 30, 20, 1.0, None, 5.0),
    limits=Limits(max_frames=3600),
    follows="video",
    segment=(77, 1),
    looks_with=tuple(networks.NETWORKS.values()),
)
ANIMATE_2 = Model(
    id="wan2.2-animate-2-14b",
    title="Wan 2.2 Animate 2: a character moves as a clip's person does, without preprocessing",
    tasks={"animate": ("image", "video")},
    pipeline={"animate": MODULAR},
    weights=Weights(repo="Wan-AI/Wan2.2-Animate-2-14B-Diffusers", revision="7d48412d7b903ff3a89f4f5a960d99e1899605a1"),
    dit=Dit(5120, 13824, 40, 36, 16, extra=2_106_000_000),
    defaults=Defaults(832, 480, 81, 24, 40, 3.0, None, 5.0),
    limits=Limits(max_frames=1440),
    follows="video",
    segment=(81, 1),
    keeps_kv=True,
    effort=1.02,
)
VACE_A14B = Model(
    id="wan2.2-vace-fun-a14b",
    title="Wan 2.2 VACE-Fun: redraws a clip or a part of it, or draws after reference pictures, 2 x 14B experts",
    tasks={"vace": ("video",), "r2v": ("image",)},
    optional={"vace": ("mask", "mask_video", "image", "image_2", "image_3"), "r2v": ("image_2", "image_3")},
    pipeline={"vace": "WanVACEPipeline", "r2v": "WanVACEPipeline"},
    weights=Weights(repo="linoyts/Wan2.2-VACE-Fun-14B-diffusers", revision="1abfb95801b7bd8f952083ebf80b93448ddb0ce4"),
    dit=Dit(5120, 13824, 48, 16, 16, extra=233_000_000),
    defaults=Defaults(832, 480, 81, 16, 40, 4.0, 3.0, 12.0),
    boundary=0.875,
)


def _fp8(model: Model) -> Model:
    """The same weights with the blocks' linears in 8 bits, quantised when they are loaded: another lane."""
    title = f"{model.title}, linears in 8-bit floating point"
    return replace(model, id=f"{model.id}-fp8", title=title, base=model.id, precision="fp8")


T2V_FP8, I2V_FP8 = _fp8(T2V_A14B), _fp8(I2V_A14B)

#: lightx2v's distillation: four steps, no guidance, two steps for each expert
_FOUR_STEPS = (1.0, 0.75, 0.5, 0.25)


def _four_step(model: Model, revision: str | None, files: tuple[str, str]) -> Model:
    """The model with lightx2v's 4-step LoRAs, (high, low). Euler over timesteps 1000, 937.5, 833.3, 625 at shift 5."""
    repo = "lightx2v/Wan2.2-Distill-Loras"
    return replace(
        model,
        id=f"{model.id}-4step",
        title=f"{model.title}, distilled to 4 steps without guidance (lightx2v)",
        base=model.id,
        loras=tuple(
            LoraFile(f"lightx2v-4step-{expert}", expert, repo, revision, file)
            for expert, file in zip(("high", "low"), files, strict=True)
        ),
        sigmas=_FOUR_STEPS,
        defaults=replace(model.defaults, steps=4, guidance=1.0, guidance_2=1.0, shift=5.0),
        limits=replace(model.limits, min_steps=4, max_steps=4, max_guidance=1.0),
    )


T2V_4STEP = _four_step(
    T2V_A14B,
    # the commit that brought these two files is not known here
    None,
    (
        "wan2.2_t2v_A14b_high_noise_lora_rank64_lightx2v_4step_1217.safetensors",
        "wan2.2_t2v_A14b_low_noise_lora_rank64_lightx2v_4step_1217.safetensors",
    ),
)
I2V_4STEP = _four_step(
    I2V_A14B,
    "570044187a5219776ef30a5c60c6f76428a3a10a",
    (
        "wan2.2_i2v_A14b_high_noise_lora_rank64_lightx2v_4step_1022.safetensors",
        "wan2.2_i2v_A14b_low_noise_lora_rank64_lightx2v_4step_1022.safetensors",
    ),
)


#: of the trained tiny models: at 2, 19 of 20 clips show all that their prompts say, at 4 every second colour is wrong
_TINY_GUIDANCE = 2.0


def tiny_of(model_id: str) -> str:
    """The id of a model's tiny twin, which runs the same code on a machine without a GPU in seconds."""
    return f"{model_id}-tiny"


def _tiny(model: Model, dit: Dit, *, draws: bool = False, side: int = 128) -> Model:
    """The same pipeline with tiny weights: real classes on a CPU in seconds.

    side    of its pictures where nothing else is asked
    draws   whether the weights are trained: then a prompt of the drawn world's words shows (docs/tiny-models.md)
    """
    what = "tiny weights trained on drawn clips" if draws else "tiny random weights: tests the plumbing, draws noise"
    steps = min(12 if draws else 4, model.defaults.steps)
    shown = model.defaults
    if draws:
        # of so small pictures; with more guidance colours turn white
        calm = None if shown.guidance_2 is None else min(_TINY_GUIDANCE, shown.guidance_2)
        shown = replace(shown, shift=5.0, guidance=min(_TINY_GUIDANCE, shown.guidance), guidance_2=calm)
    return replace(
        model,
        id=tiny_of(model.id),
        title=f"{model.title} ({what})",
        weights=Weights(tiny=True),
        dit=dit,
        precision="fp8" if model.precision == "fp8" else "fp32",
        base=tiny_of(model.base) if model.base else None,
        loras=tuple(LoraFile(f"{lora.name}-tiny", lora.expert) for lora in model.loras),
        segment=(9, 1) if model.segment else None,
        looks_with=(),
        defaults=replace(shown, width=side, height=side, frames=17, fps=16, steps=steps),
        limits=replace(model.limits, min_side=model.limits.multiple * 2, max_frames=481),
    )


MODELS: dict[str, Model] = {
    m.id: m
    for m in (
        T2V_A14B,
        T2V_4STEP,
        T2V_FP8,
        I2V_A14B,
        I2V_4STEP,
        I2V_FP8,
        TI2V_5B,
        VACE_A14B,
        ANIMATE_14B,
        ANIMATE_2,
        _tiny(T2V_A14B, Dit(96, 288, 4, 16, 16), draws=True),
        _tiny(T2V_4STEP, Dit(96, 288, 4, 16, 16), draws=True),
        _tiny(T2V_FP8, Dit(96, 288, 4, 16, 16), draws=True),
        _tiny(I2V_A14B, Dit(96, 288, 4, 36, 16), draws=True),
        _tiny(I2V_4STEP, Dit(96, 288, 4, 36, 16)),
        _tiny(TI2V_5B, Dit(192, 192, 3, 48, 48), draws=True, side=256),
        _tiny(VACE_A14B, Dit(96, 288, 6, 16, 16), draws=True),
        _tiny(ANIMATE_14B, Dit(96, 288, 4, 36, 16), draws=True),
        _tiny(ANIMATE_2, Dit(32, 48, 2, 36, 16)),
    )
}

#: every input role that some model reads
ROLES = tuple(dict.fromkeys(role for model in MODELS.values() for task in model.tasks for role in model.roles(task)))


def get(model_id: str) -> Model:
    """The entry of that id; ShapeError on field "model" lists the known ids when there is none."""
    try:
        return MODELS[model_id]
    except KeyError:
        raise ShapeError("model", f"unknown model {model_id!r}; known: {', '.join(sorted(MODELS))}") from None
