"""The sound of an input: decoded, aligned with the picture's clock, and encoded again. Runs in
farm.intake.decoder.

Lossless sound becomes FLAC, exact to the sample; lossy sound becomes AAC, which every player takes. Mono, stereo and
5.1 stay; any other arrangement becomes stereo.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av

_LOSSY = frozenset({"aac", "mp3", "mp2", "vorbis", "opus", "ac3", "eac3", "amr_nb", "amr_wb"})
_LOSSLESS = frozenset(
    {"flac", "alac", *(f"pcm_{form}" for form in ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "f32le"))}
)
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
#: bits per second of AAC
_BIT_RATES = {1: 128_000, 2: 256_000, 6: 512_000}
#: samples per second that AAC has
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
_USUAL_RATE, _MAX_RATE = 48_000, 192_000
#: tracks of one clip; packets of one that are tried before it counts as unreadable
_MAX_TRACKS, _TRIED = 4, 200
#: seconds: a longer hole is filled with silence, and what lies as far before its place is left out
_HOLE_S = Fraction(1, 20)


@dataclass(frozen=True)
class TrackPlan:
    """A track that can be read. start_s: of its first sample, on the file's clock."""

    index: int
    channels: int
    rate: int
    start_s: Fraction
    deep: bool
    lossless: bool


@contextmanager
def opened(source: BinaryIO, demuxer: str) -> Iterator[Any]:
    """The container from its beginning, by the demuxer given. Nothing else may be opened from inside it."""
    source.seek(0)
    with av.open(source, format=demuxer, options={"protocol_whitelist": ""}, metadata_errors="ignore") as box:
        yield box


def codec_of(stream: Any) -> str | None:
    """libav's name of the stream's codec, whichever decoder is used for it; None when nobody knows it."""
    context = stream.codec_context
    return None if context is None else str(context.codec.canonical_name)


def called(stream: Any) -> str:
    """The codec as people call it."""
    context = stream.codec_context
    return "a codec that is not known here" if context is None else str(context.codec.long_name).split(" / ")[0]


def planned(source: BinaryIO, demuxer: str) -> tuple[list[TrackPlan], list[str]]:
    """(tracks that can be read, what is said about the others). Decodes the beginning of each."""
    with opened(source, demuxer) as box:
        left = {s.index: s for s in box.streams.audio if codec_of(s) in _LOSSY | _LOSSLESS}
        notes = [
            f"a sound track ({called(s)}) is of a kind that is not read here, and was left out"
            for s in box.streams.audio
            if s.index not in left
        ]
        plans: list[TrackPlan] = []
        tried = dict.fromkeys(left, 0)
        for packet in box.demux(list(left.values())) if left else ():
            stream = left.get(packet.stream_index)
            if stream is None:
                continue
            tried[stream.index] += 1
            if (plan := _plan(packet, stream)) is not None:
                plans.append(plan)
            if plan is not None or tried[stream.index] > _TRIED:
                left.pop(stream.index)
            if not left:
                break
    dumb = [index for index in tried if tried[index] > 1 and index not in {plan.index for plan in plans}]
    notes += ["a sound track cannot be read, and was left out"] * len(dumb)
    plans.sort(key=lambda plan: plan.index)
    if len(plans) > _MAX_TRACKS:
        notes.append(f"of {len(plans)} sound tracks the first {_MAX_TRACKS} were kept")
    return plans[:_MAX_TRACKS], notes


def _plan(packet: Any, stream: Any) -> TrackPlan | None:
    try:
        frame = next(iter(packet.decode()), None)
    except av.FFmpegError:
        return None
    if frame is None or frame.samples == 0 or frame.sample_rate <= 0:
        return None
    start_s = frame.pts * frame.time_base if frame.pts is not None else Fraction(0)
    lossless = codec_of(stream) in _LOSSLESS
    return TrackPlan(
        stream.index, frame.layout.nb_channels, frame.sample_rate, start_s, frame.format.bytes > 2, lossless
    )


class SoundWriter:
    """One track being written. Whoever reads the file hands it its packets, in order, and then finishes it.

    zero_s      what becomes time 0 of the result; most_s: seconds after it that are kept
    lossless    FLAC also of what was not; channels: at most, 6 or 2
    """

    def __init__(
        self, made: Any, plan: TrackPlan, zero_s: Fraction, most_s: float, *, lossless: bool = False, channels: int = 6
    ) -> None:
        self.index = plan.index
        self._made, self._zero_s = made, zero_s
        self._channels = plan.channels if plan.channels in _LAYOUTS and plan.channels <= channels else 2
        self._given = plan.channels
        flac = lossless or plan.lossless
        self.rate = plan.rate if plan.rate in _AAC_RATES or (flac and plan.rate <= _MAX_RATE) else _USUAL_RATE
        form = ("s32" if plan.deep else "s16") if flac else "fltp"
        layout = _LAYOUTS[self._channels]
        self._stream = made.add_stream("flac" if flac else "aac", rate=self.rate)
        self._stream.layout, self._stream.format = layout, form
        if not flac:
            self._stream.bit_rate = _BIT_RATES[self._channels]
        self._form, self._layout = form, layout
        self._resampler = av.AudioResampler(form, layout, self.rate)
        self._most = int(most_s * self.rate)
        #: samples from time 0 to the end of what is written; None before the first one
        self._end: int | None = None
        self.samples = 0
        self._torn, self._cut = 0, False

    def take(self, packet: Any) -> None:
        """Decode and encode a packet; a torn one leaves a hole."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._torn += 1
            return
        for frame in frames:
            self._place(frame)

    def finish(self) -> list[str]:
        """Write the rest; what was not kept, in words."""
        for piece in self._resampler.resample(None) if self._end is not None else ():
            self._write(piece)
        for packet in self._stream.encode(None):
            self._made.mux(packet)
        notes = []
        if self._given != self._channels:
            notes.append(f"sound of {self._given} channels was mixed down to stereo")
        if self._torn:
            notes.append(f"{self._torn} damaged {'piece' if self._torn == 1 else 'pieces'} of the sound became silence")
        if self._cut:
            notes.append("sound that goes on for longer than is taken was cut off")
        return notes

    def _place(self, frame: Any) -> None:
        """Where its time says, with silence before it if need be."""
        if frame.pts is not None:
            at = round((frame.pts * frame.time_base - self._zero_s) * self.rate)
            hole = round(_HOLE_S * self.rate)
            if self._end is None:
                self._end = max(at, 0)
            if at < self._end - hole:
                return
            if at > self._end + hole:
                self._silence(min(at, self._most) - self._end)
        elif self._end is None:
            self._end = 0
        frame.pts = None
        for piece in self._resampler.resample(frame):
            self._write(piece)

    def _silence(self, samples: int) -> None:
        import numpy as np

        while samples > 0:
            now = min(samples, self.rate)
            planes = (self._channels, now) if self._form == "fltp" else (1, now * self._channels)
            kind = {"fltp": np.float32, "s16": np.int16, "s32": np.int32}[self._form]
            piece = av.AudioFrame.from_ndarray(np.zeros(planes, kind), format=self._form, layout=self._layout)
            piece.sample_rate = self.rate
            self._write(piece)
            samples -= now

    def _write(self, piece: Any) -> None:
        assert self._end is not None
        if self._end >= self._most:
            self._cut = True
            return
        piece.pts, piece.time_base = self._end, Fraction(1, self.rate)
        self._end += piece.samples
        self.samples += piece.samples
        for packet in self._stream.encode(piece):
            self._made.mux(packet)
