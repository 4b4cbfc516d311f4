"""The comparison for metrics: the farm's gateway, whose requests nobody counts or times."""

from api import metrics
from api.app import create_app

app = create_app()
for hooks in (app.before_request_funcs, app.after_request_funcs):
    every = hooks[None]  # type: ignore[index]
    counted = [one for one in every if one.__module__ == metrics.__name__]
    if not counted:
        raise RuntimeError("the gateway counts elsewhere now: there is nothing to take away")
    hooks[None] = [one for one in every if one not in counted]  # type: ignore[index]
