"""The blueprints of the farm's own API: one that asks for a key, one that does not (health, OpenAPI, metrics)."""

from flask import Blueprint, current_app, request

from api.auth import authenticate, bearer_or_header, require
from api.own.operations import OPERATIONS

own_api = Blueprint("own", __name__)
keyless = Blueprint("keyless", __name__)


@own_api.before_request
def _key() -> None:
    authenticate(bearer_or_header())
    require(OPERATIONS[current_app.view_functions[request.endpoint or ""]].role)
