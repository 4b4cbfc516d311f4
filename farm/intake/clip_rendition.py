"""A clip as the farm keeps it: MP4, upright, square pixels, 8-bit BT.709 H.264 at a constant rate, and its sound. Runs
in farm.intake.decoder."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.error import InvalidDataError

from farm.intake import tracks
from farm.intake.refusal import Refused, broken, check_length
from models.media import clips
from models.media.upright import FrameView, TrackTags, view_of
from models.planning.request import RenderFault

#: what a clip may be encoded with, as libav calls the codecs (not their decoders), and as people do
CODECS = {
    "h264": "H.264",
    "hevc": "H.265",
    "vp8": "VP8",
    "vp9": "VP9",
    "av1": "AV1",
    "mpeg4": "MPEG-4",
    "mpeg2video": "MPEG-2",
    "mjpeg": "Motion JPEG",
    "prores": "ProRes",
    "dnxhd": "DNxHD",
    "ffv1": "FFV1",
}
#: part of the frames that may be spoiled: one lost block on a tape is no reason to refuse a clip
_TOLERATED = 0.02
#: part of the length that the header promises, and seconds, by which a file may end early
_MISSING, _MISSING_S = 0.1, 0.25
#: frames per second on average; faster is no film
_MAX_FPS = 1000
_MIN_SIDE = 16
#: nearly lossless, and quick: it is decoded once or twice, over the local network
_X264 = {
    "preset": "ultrafast",
    "crf": "10",
    "threads": "2",
    "x264-params": "threads=2:colorprim=bt709:transfer=bt709:colormatrix=bt709",
}
_BT709 = 1
_THREADS = 2


def keep(source: BinaryIO, out: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the clip to `out`; what it is. Raises Refused."""
    try:
        with tracks.opened(source, asked["opens"]) as box:
            stream, promised_s = stream_of(box), _promised_s(box)
            check_size(stream.codec_context.width, stream.codec_context.height, asked)
            check_length(promised_s, asked["max_s"])
            told = float(stream.duration * stream.time_base) if stream.duration else 0.0
            survey = clips.survey(box, stream, most=int(asked["max_s"] * _MAX_FPS))
        check_length(survey.seconds, asked["max_s"])
        # the sound may be longer than the picture, and a header that counts both promises the longer one
        short = survey.seconds < (1 - _MISSING) * told - _MISSING_S
        if short or survey.ends_s < (1 - _MISSING) * promised_s - _MISSING_S:
            raise broken("video")
        plans, notes = tracks.planned(source, asked["opens"]) if asked["sound"] else ([], [])
        return _Copy(source, out, asked, survey, plans, notes).write()
    except MemoryError:
        raise
    except RenderFault:
        raise Refused("the video has no picture that can be decoded; encode it again") from None
    except (av.FFmpegError, ValueError, ArithmeticError, IndexError, AttributeError):
        raise broken("video") from None


@dataclass
class _Copy:
    """One pass over the file: every frame decoded, brought to its tick and encoded; every track beside it."""

    source: BinaryIO
    out: BinaryIO
    asked: dict[str, Any]
    survey: clips.Survey
    #: sound that can be read, and what is said about the rest
    plans: list[tracks.TrackPlan]
    notes: list[str]
    #: frames that could not be decoded
    bad: int = 0
    views: set[FrameView] = field(default_factory=set)

    def write(self) -> dict[str, Any]:
        """Write the whole clip; what it is. Raises Refused."""
        rate = self.survey.timing.rate
        zero_s = min([self.survey.timing.start_s, *(plan.start_s for plan in self.plans)])
        lead_s = self.survey.timing.start_s - zero_s
        # a tick of one frame unless the picture begins somewhere between two ticks
        tick_s = 1 / rate if not lead_s else Fraction(1, rate.numerator * 100)
        first, self.bad = self._first(), 0
        with tracks.opened(self.source, self.asked["opens"]) as box, av.open(self.out, "w", format="mp4") as made:
            stream = stream_of(box)
            video = _video(made, first, rate, tick_s)
            sounds = [tracks.SoundWriter(made, plan, zero_s, self.asked["max_s"]) for plan in self.plans]
            count = 0
            for count, picture in enumerate(self._ticks(box, stream, rate, sounds), 1):
                picture.pts, picture.time_base = round((lead_s + (count - 1) / rate) / tick_s), tick_s
                for packet in video.encode(picture):
                    made.mux(packet)
            if self.bad > _TOLERATED * self.survey.packets:
                raise broken("video")
            for packet in video.encode():
                made.mux(packet)
            for sound in sounds:
                self.notes += sound.finish()
        odd = sorted({f"of the clip: {view.unknown}" for view in self.views if view.unknown})
        return {
            "width": first.width,
            "height": first.height,
            "frames": count,
            "fps": round(float(rate), 6),
            "seconds": round(float(count / rate), 3),
            "notes": [*odd, *self.notes],
        }

    def _first(self) -> FrameView:
        """How the first frame that can be decoded is seen: the whole clip takes its size."""
        with tracks.opened(self.source, self.asked["opens"]) as box:
            for _, view in self._decoded(box, stream_of(box), []):
                return view
        raise Refused("the video has no picture that can be decoded; encode it again")

    def _ticks(self, box: Any, stream: Any, rate: Fraction, sounds: list[tracks.SoundWriter]) -> Iterator[Any]:
        """Pictures as they are seen, one for each tick."""
        seen = clips.upright(self._decoded(box, stream, sounds), "yuv420p")
        timed = ((clips.time_of(frame), shown) for frame, shown in seen)
        return clips.paced(timed, rate, self.survey.timing)

    def _decoded(self, box: Any, stream: Any, sounds: list[tracks.SoundWriter]) -> Iterator[tuple[Any, FrameView]]:
        track = TrackTags.of(stream)
        stream.codec_context.options = {"err_detect": "explode"}
        stream.codec_context.thread_count = _THREADS
        of_sound = {sound.index: sound for sound in sounds}
        for packet in box.demux([stream, *(box.streams[index] for index in of_sound)]):
            if packet.stream_index in of_sound:
                of_sound[packet.stream_index].take(packet)
                continue
            try:
                for frame in packet.decode():
                    check_size(frame.width, frame.height, self.asked)
                    view = view_of(frame, track)
                    self.views.add(view)
                    yield frame, view
            except InvalidDataError:
                self.bad += 1


def _video(made: Any, view: FrameView, rate: Fraction, tick_s: Fraction) -> Any:
    stream = made.add_stream("libx264", rate=rate, options=_X264)
    stream.width, stream.height, stream.pix_fmt = view.width, view.height, "yuv420p"
    colour = stream.codec_context
    colour.color_primaries = colour.color_trc = colour.colorspace = _BT709
    colour.color_range = av.video.reformatter.ColorRange.MPEG
    colour.time_base = tick_s
    return stream


def stream_of(box: Any) -> Any:
    """The picture's stream, if it is one that is taken. The list is kept here: libav's own option for it is not
    passed on to the decoders that PyAV opens."""
    stream = clips.picture_stream(box)
    if stream is None:
        raise Refused("the file holds no video")
    codec = tracks.codec_of(stream)
    if codec not in CODECS:
        taken = ", ".join(CODECS.values())
        name = tracks.called(stream)
        raise Refused(
            f"the video is encoded with {name}, which is not taken; encode it again as H.264 ({taken} are taken)"
        )
    return stream


def _promised_s(box: Any) -> float:
    """Seconds by the header; 0 when it does not say."""
    return (box.duration or 0) / 1e6


def check_size(width: int, height: int, asked: dict[str, Any]) -> None:
    """Raises Refused for a picture that is too large or too small."""
    if width * height > asked["max_pixels"]:
        raise Refused(f"{width}x{height} pixels are too large; {asked['max_pixels'] / 1e6:.3g} million are allowed")
    if min(width, height) < _MIN_SIDE:
        raise Refused(f"{width}x{height} pixels are too few; the shorter side needs {_MIN_SIDE}")
