"""The networks that look at Animate's clips: which they are and where their weights come from. Pure.

What loads them is models.preprocess; why these ones is in docs/decisions/rendering.md.
"""

from models.catalog.model import Network, ShapeError

_BOTH = ("animate", "replace")

PERSON = Network(
    name="person",
    title="RT-DETRv2, finds people",
    repo="PekingU/rtdetr_v2_r50vd",
    revision="282494075698cab9faa1096ae26856890030c817",
    files=("config.json", "model.safetensors"),
    form="safetensors",
    licence="Apache-2.0",
    size_gb=0.17,
    tasks=_BOTH,
)
#: no ViTPose of 133 points is on the hub as safetensors; this is the one that Animate was trained with: a graph and one
#: file for each of its tensors, and no code in any of them
POSE = Network(
    name="pose",
    title="ViTPose-H with 133 points, as Wan's own preprocessing runs it",
    repo="Wan-AI/Wan2.2-Animate-14B",
    revision="cb93a225fbaf1ca100f54e79da8f994995b689b3",
    files=("process_checkpoint/pose2d/*",),
    form="onnx",
    licence="Apache-2.0",
    size_gb=2.55,
    tasks=_BOTH,
)
MASK = Network(
    name="mask",
    title="SAM 2.1 large, follows a person through a clip",
    repo="facebook/sam2.1-hiera-large",
    revision="665f8e2ad61cf5f53d65644ff27c8ee525124610",
    files=("config.json", "model.safetensors"),
    form="safetensors",
    licence="Apache-2.0",
    size_gb=0.9,
    tasks=("replace",),
)

NETWORKS = {network.id: network for network in (PERSON, POSE, MASK)}


def get(network_id: str) -> Network:
    """The network of that id; ShapeError on field "model" lists the known ones when there is none."""
    try:
        return NETWORKS[network_id]
    except KeyError:
        raise ShapeError("model", f"unknown network {network_id!r}; known: {', '.join(NETWORKS)}") from None
