"""The last frame of a result of this farm's own, as a picture to go on from. Never for what tenants sent: their bytes
are decoded where a crash costs nobody else."""

import io
from pathlib import Path

from farm.jobs.errors import Unavailable

#: seconds before the end where decoding begins
_TAIL_S = 1.0


def last_frame(video: Path) -> bytes:
    """A PNG. Raises Unavailable for a file that is not what the farm committed."""
    import av

    try:
        with av.open(str(video)) as box:
            stream = box.streams.video[0]
            end_s = (box.duration or 0) / av.time_base
            box.seek(int(max(0.0, end_s - _TAIL_S) * av.time_base))
            last = None
            for frame in box.decode(stream):
                last = frame
            if last is None:
                raise Unavailable("the stored video has no frame")
            out = io.BytesIO()
            last.to_image().save(out, "PNG")
            return out.getvalue()
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise Unavailable("the stored video cannot be read") from error
