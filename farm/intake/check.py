"""Checks an input by its kind. What passes is what a render reads, and can crash no engine."""

from typing import BinaryIO

from farm.config import IntakeSettings
from farm.intake import rendition
from farm.intake.media import HEAD, form_of
from farm.intake.rendition import Rendition
from farm.jobs.inputs import Kind


def check(file: BinaryIO, kind: Kind, limits: IntakeSettings) -> Rendition:
    """Make of a whole, seekable file what the farm keeps of it. Raises InvalidRequest saying what to do instead.

    A child process decodes: it may take seconds of a core or two, and is bounded.
    """
    file.seek(0)
    return rendition.make(file, kind, form_of(file.read(HEAD), kind), limits)
