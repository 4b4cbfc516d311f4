"""The comparison for the gateway: a Flask route that checks nothing and hands its body to Celery's `.delay()`."""

import os
from typing import Any

from celery import Celery
from flask import Flask, request

from bench.bare import BROKER_ENV

celery = Celery("bare_gateway", broker=os.environ.get(BROKER_ENV, "redis://127.0.0.1:6379/2"))
celery.conf.update(task_default_queue="bare_gateway", task_ignore_result=True)
app = Flask(__name__)


@celery.task
def render(_shot: dict[str, Any]) -> None:
    """Never run here: what is measured is the way in."""


@app.post("/v1/jobs")
def create() -> tuple[dict[str, str], int]:
    return {"id": render.delay(request.get_json()).id}, 201
