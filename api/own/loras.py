"""/v1/loras: a tenant's own LoRAs."""

from flask import Response

from api.auth import tenant
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.operations import json_body, operation
from api.services import services
from farm.jobs.errors import NotFound
from farm.wire import own
from farm.wire.own_loras import AddLora, LoraList, LoraView, view_lora
from farm.wire.own_views import ProblemView
from farm.wire.report import Reply


@own_api.post("/v1/loras")
@operation(
    "Add a LoRA",
    {
        201: LoraView,
        200: LoraView,
        403: ProblemView,
        409: ProblemView,
        413: ProblemView,
        422: ProblemView,
        429: ProblemView,
    },
    body=AddLora,
)
def add_lora() -> Response:
    """Ask for an address with `POST /v1/uploads` and `{"for": "lora"}`, PUT the .safetensors file there, and name it
    here. The answer comes when every byte was looked at, seconds for a large file. What is no LoRA for Wan 2.2 is
    refused with the reason (422) and not kept. Said again with the same name and upload, it answers 200 with the first
    LoRA. The upload is used up."""
    asked = own.parse(AddLora, json_body())
    lora, created = services().loras.add(tenant(), asked.name, asked.upload, asked.sha256)
    return answer(Reply(201 if created else 200, view_lora(lora), {"Location": f"/v1/loras/{lora.id}"}))


@own_api.get("/v1/loras")
@operation("List LoRAs", {200: LoraList})
def list_loras() -> Response:
    """The caller's LoRAs."""
    return answer(Reply(200, LoraList(data=[view_lora(lora) for lora in services().loras.all(tenant())])))


@own_api.get("/v1/loras/<lora>")
@operation("Get a LoRA", {200: LoraView, 404: ProblemView})
def get_lora(lora: str) -> Response:
    """By its name or its id."""
    found = services().loras.find(tenant(), lora)
    if found is None:
        raise NotFound(f"no LoRA {lora[:64]}")
    return answer(Reply(200, view_lora(found)))


@own_api.delete("/v1/loras/<lora>")
@operation("Delete a LoRA", {200: LoraView, 404: ProblemView})
def remove_lora(lora: str) -> Response:
    """By its name or its id. No job can ask for it from now on, and its name is free. Open jobs that use it still do;
    its bytes are removed after the last of them, and count against your room until then."""
    return answer(Reply(200, view_lora(services().loras.delete(tenant(), lora))))
