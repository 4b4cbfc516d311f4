"""Bodies that are forms (multipart/form-data, x-www-form-urlencoded): their fields unfolded, and their files."""

from typing import Any

from flask import request

from farm.jobs.draft import Source
from farm.wire.form import unfold

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def form() -> tuple[dict[str, Any], list[tuple[str, Source]]]:
    """(fields, files by the names of their parts). A file input in which nothing was chosen is an empty part without
    a file name: none."""
    fields = unfold(request.form.items(multi=True))
    files = [(name, file.filename, file.read()) for name, file in request.files.items(multi=True)]
    return fields, [(name, Source(data=data)) for name, filename, data in files if data or filename]
