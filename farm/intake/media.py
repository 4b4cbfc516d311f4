"""What a file is, recognised by its first bytes and never by its name or by what a server claims. Decodes nothing."""

import re
from dataclasses import dataclass

from farm.config import IntakeSettings
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind

#: bytes that are enough to tell what a file is
HEAD = 4096


@dataclass(frozen=True)
class Media:
    """A file that was checked, as it is kept. width and height are pixels as it is seen; frames of a clip are those
    that a render reads of it, at the constant rate fps: its own, halved while it is above 60.

    notes   what of the file was left out or taken otherwise, in sentences for its owner
    """

    content_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    frames: int | None = None
    fps: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """`opens` is what the decoder is forced to. Without a kind: nothing that is accepted, `name` says what it is."""

    name: str
    kind: Kind | None = None
    opens: str = ""


_PNG = Form("a PNG picture", Kind.PICTURE, "PNG")
_JPEG = Form("a JPEG picture", Kind.PICTURE, "JPEG")
_WEBP = Form("a WebP picture", Kind.PICTURE, "WEBP")
_MP4 = Form("an MP4 video", Kind.CLIP, "mov")
_M4A = Form("M4A audio", Kind.SOUND, "mov")
_MOV = Form("a QuickTime video", Kind.CLIP, "mov")
_MATROSKA = Form("a Matroska video", Kind.CLIP, "matroska")
_WEBM = Form("a WebM video", Kind.CLIP, "matroska")
_WAV = Form("WAV audio", Kind.SOUND, "wav")
_WEBA = Form("WebM audio", Kind.SOUND, "matroska")
_FLAC = Form("FLAC audio", Kind.SOUND, "flac")
_OGG = Form("Ogg audio", Kind.SOUND, "ogg")
_MP3 = Form("MP3 audio", Kind.SOUND, "mp3")
_AAC = Form("AAC audio", Kind.SOUND, "aac")

#: how files begin, the first that fits
_BEGINNINGS: tuple[tuple[re.Pattern[bytes], Form], ...] = tuple(
    (re.compile(pattern, re.DOTALL), form)
    for pattern, form in (
        (rb"\x89PNG\r\n\x1a\n", _PNG),
        (rb"\xff\xd8\xff", _JPEG),
        (rb"RIFF....WEBP", _WEBP),
        (rb"RIFF....WAVE", _WAV),
        (rb"RIFF....AVI ", Form("an AVI video")),
        (rb"GIF8[79]a", Form("a GIF")),
        (rb"....ftyp(avif|avis)", Form("an AVIF picture")),
        (rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", Form("a HEIC picture")),
        (rb"....ftyp(M4A|M4B)", _M4A),
        (rb"....ftypqt", _MOV),
        (rb"....ftyp", _MP4),
        (rb"....(moov|mdat|wide|free|skip)", _MOV),
        (rb"\x1aE\xdf\xa3.{0,64}webm", _WEBM),
        (rb"\x1aE\xdf\xa3", _MATROSKA),
        (rb"fLaC", _FLAC),
        (rb"OggS", _OGG),
        (rb"ID3|\xff[\xfa\xfb\xf2\xf3\xe2\xe3]", _MP3),
        (rb"\xff[\xf0\xf1\xf8\xf9]", _AAC),
        (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", Form("a TIFF picture")),
        (rb"BM....\0\0\0\0", Form("a BMP picture")),
        (rb"\0\0\0\x0cJXL |\xff\x0a", Form("a JPEG XL picture")),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", Form("a JPEG 2000 picture")),
        (rb"8BPS", Form("a Photoshop file")),
        (rb"v/1\x01", Form("an OpenEXR picture")),
        (rb"%PDF", Form("a PDF")),
        (rb"PK\x03\x04", Form("a ZIP archive or an office document")),
        (rb"\x1f\x8b", Form("a gzip archive")),
    )
)
_WANTED = {
    Kind.PICTURE: "a PNG, JPEG or WebP picture",
    Kind.CLIP: "an MP4, MOV, MKV or WebM video",
    Kind.SOUND: "WAV, MP3, FLAC, Ogg or AAC audio",
}


def byte_limit(kind: Kind, limits: IntakeSettings) -> int:
    """The most bytes that a file of this kind may have."""
    return {
        Kind.PICTURE: limits.max_image_bytes,
        Kind.CLIP: limits.max_video_bytes,
        Kind.SOUND: limits.max_audio_bytes,
    }[kind]


def form_of(head: bytes, kind: Kind) -> Form:
    """The form of a file that begins with `head`. Raises InvalidRequest saying what to send instead."""
    if not head:
        raise InvalidRequest(f"the file is empty; send {_WANTED[kind]}")
    form = next((form for pattern, form in _BEGINNINGS if pattern.match(head)), None) or _markup(head)
    if form is None:
        what = "a text file" if _is_text(head) else f"not {_WANTED[kind]}"
        raise InvalidRequest(f"the file is {what}" + (f"; send {_WANTED[kind]}" if what.startswith("a ") else ""))
    # one container holds either: whoever asked for sound gets its sound
    if form.kind is Kind.CLIP and kind is Kind.SOUND:
        return _M4A if form.opens == "mov" else _WEBA
    if form.kind is not kind:
        raise InvalidRequest(f"the file is {form.name}; send {_WANTED[kind]}")
    return form


def _markup(head: bytes) -> Form | None:
    """Text that a decoder would follow elsewhere: drawings, pages, playlists."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n\f").lower()
    if start.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in start:
        return Form("an SVG drawing")
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Form("a web page")
    return Form("a playlist") if start.startswith(b"#extm3u") else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        # a character cut in half by the end of the head is no sign of anything
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(c.isprintable() or c in "\r\n\t\f\b\x1b" for c in text)
