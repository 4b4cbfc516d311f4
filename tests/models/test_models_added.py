"""docs/adding-a-pipeline.md is true: the model on that page, added as the page says, is planned and rendered."""

import re
from pathlib import Path

import pytest
from model_parts import Render

from models import catalog
from models.catalog import ShapeError, entries, lane_of
from models.planning.plan import Burden, MemoryPlan, needs
from models.weights import tiny

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-pipeline.md").read_text()
#: file or table -> its text, as the page has it
BLOCKS = dict(re.findall(r"^```python (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
MODEL = "wan2.1-t2v-1.3b"


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, file in ((entries, "models/catalog/entries.py"), (tiny, "models/weights/tiny.py")):
        names = dict(module.__dict__)
        exec(compile(BLOCKS[file], file, "exec"), names)
        for name in names.keys() - module.__dict__.keys():
            monkeypatch.setattr(module, name, names[name], raising=False)
    for model in eval(BLOCKS["MODELS"], entries.__dict__):
        monkeypatch.setitem(entries.MODELS, model.id, model)
    for name, build in eval(f"{{{BLOCKS['_BUILDERS']}}}", tiny.__dict__).items():
        monkeypatch.setitem(tiny._BUILDERS, name, build)


def test_its_tiny_twin_renders(render: Render) -> None:
    result = render(f"{MODEL}-tiny", "t2v")
    assert result.recipe["pipeline"] == "WanPipeline"
    assert result.recipe["lane"] == f"{MODEL}-tiny@fp32"
    assert Path(result.video).stat().st_size > 0


def test_the_catalog_knows_its_shapes_its_work_and_its_memory() -> None:
    model = catalog.get(MODEL)
    shape = catalog.settle(model, "t2v", {})
    assert (shape.width, shape.height, shape.frames, lane_of(model)) == (832, 480, 81, f"{MODEL}@bf16")
    assert 0 < shape.work_tflop < catalog.settle(catalog.T2V_A14B, "t2v", {}).work_tflop
    small, large = (needs(Burden(one, 832, 480, 81), MemoryPlan()) for one in (model, catalog.T2V_A14B))
    assert 0 < small.device_bytes < large.device_bytes
    with pytest.raises(ShapeError, match="more than the model's"):
        catalog.settle(model, "t2v", {"width": 1280, "height": 720})
