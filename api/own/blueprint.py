"""The blueprints of the farm's own API: one that asks for a key, one that does not (health, OpenAPI, metrics)."""

from flask import Blueprint

from api.auth import authenticate, bearer_or_header

own_api = Blueprint("own", __name__)
keyless = Blueprint("keyless", __name__)


@own_api.before_request
def _key() -> None:
    authenticate(bearer_or_header())
