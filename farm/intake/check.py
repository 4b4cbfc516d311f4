"""The door to the checks of each kind of input: whatever passes can be decoded by the engine."""

from typing import BinaryIO

from farm.config import IntakeSettings
from farm.intake import clip, picture
from farm.intake.media import HEAD, Media, form_of
from farm.jobs.inputs import Kind


def check(file: BinaryIO, kind: Kind, limits: IntakeSettings) -> Media:
    """Check that a whole, seekable file is what `kind` needs. Raises InvalidRequest saying what to do instead.

    Decodes: it may take seconds of one core, and is bounded.
    """
    file.seek(0)
    form = form_of(file.read(HEAD), kind)
    if kind is Kind.PICTURE:
        return picture.inspect(file, form.opens, form.content_type, limits)
    return clip.inspect(file, kind, form.opens, form.content_type, limits)
