"""Does what is asked on stdin with whatever openai package there is, and prints what its caller sees. Not a test.

python table.py URL KEY < cases: a JSON list of [what, argument]; prints a JSON list of outcomes.
"""

import json
import sys
import warnings
from typing import Any

import openai

# the newest versions announce that OpenAI's own service ends
warnings.simplefilter("ignore", DeprecationWarning)


def outcome(sdk: openai.OpenAI, what: str, given: Any) -> Any:
    if what == "create":
        if picture := given.pop("picture", None):
            with open(picture, "rb") as file:
                given["input_reference"] = ("picture.png", file.read(), "image/png")
        made = sdk.videos.create(**given)
        seen = sdk.videos.retrieve(made.id)
        return [
            made.status,
            made.size,
            made.seconds,
            made.model,
            (seen.size, seen.seconds) == (made.size, made.seconds),
        ]
    if what == "retrieve":
        return sdk.videos.retrieve(given).id
    if what == "download":
        return len(sdk.videos.download_content(sdk.videos.create(prompt=given).id).read())
    if what == "list":
        return len(list(sdk.videos.list(limit=given)))
    if what == "delete":
        return sdk.videos.delete(next(iter(sdk.videos.list())).id).deleted
    return sdk.with_options(api_key=given).videos.retrieve("video_1").id


def told(sdk: openai.OpenAI, what: str, given: Any) -> Any:
    try:
        return outcome(sdk, what, given)
    except openai.APIStatusError as error:
        return {"error": type(error).__name__, "status": error.status_code, "code": error.code, "param": error.param}


if __name__ == "__main__":
    with openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0) as client:
        print(json.dumps([told(client, *case) for case in json.load(sys.stdin)]))
