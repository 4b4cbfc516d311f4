"""A sound file as the farm keeps it: FLAC, mono or stereo. Runs in farm.intake.decoder."""

from fractions import Fraction
from typing import Any, BinaryIO

import av

from farm.intake import tracks
from farm.intake.refusal import Refused, broken, check_length


def keep(source: BinaryIO, out: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the first readable track to `out`; what it is. Raises Refused."""
    try:
        with tracks.opened(source, asked["opens"]) as box:
            if not box.streams.audio:
                raise Refused("the file holds no audio")
            check_length((box.duration or 0) / 1e6, asked["max_s"])
        plans, notes = tracks.planned(source, asked["opens"])
        if not plans:
            raise Refused("the audio is empty") if not notes else broken("audio")
        with tracks.opened(source, asked["opens"]) as box, av.open(out, "w", format="flac") as made:
            plan = plans[0]
            # one sample more than is allowed shows that a file is too long
            track = tracks.SoundWriter(made, plan, plan.start_s, asked["max_s"] + 1, lossless=True, channels=2)
            for packet in box.demux(box.streams[plan.index]):
                track.take(packet)
            notes += track.finish()
            seconds = float(Fraction(track.samples, track.rate))
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, ArithmeticError, IndexError, AttributeError):
        raise broken("audio") from None
    check_length(seconds, asked["max_s"])
    if seconds == 0:
        raise Refused("the audio is empty")
    return {"seconds": round(seconds, 3), "notes": notes}
