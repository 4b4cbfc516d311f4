"""The motion of one body with the proportions of another: every bone keeps its direction and takes the other's length.

Without this a child that dances after an adult's clip gets the adult's arms. For "move" only: who replaces somebody has
to fit where that one was.
"""

from typing import Any

from models.preprocess.keypoints import COUNT, FACE, LEFT_HAND, RIGHT_HAND

#: bones as (from, to); the neck is the middle of the shoulders and has no number of its own
_NECK = COUNT
_BONES = (
    *((_NECK, 5), (_NECK, 6), (5, 7), (7, 9), (6, 8), (8, 10)),
    *((_NECK, 11), (_NECK, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
    *((_NECK, 0), (0, 1), (0, 2), (1, 3), (2, 4)),
    *((15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)),
)
#: points that hang on a joint and take the length of one bone: (points, joint, that bone)
_HANGING = ((FACE, 0, (_NECK, 0)), (LEFT_HAND, 9, (7, 9)), (RIGHT_HAND, 10, (8, 10)))
#: the same bone of the other side
_PAIRS = {5: 6, 7: 8, 9: 10, 11: 12, 13: 14, 15: 16, 1: 2, 3: 4, 17: 20, 18: 21, 19: 22}
_OTHER = _PAIRS | {right: left for left, right in _PAIRS.items()}
#: seen less surely than this, a bone tells no length
_SURE = 0.5
#: no bone becomes longer or shorter than this many times: then a point was seen wrongly
_MOST = 2.0


class Proportions:
    """What turns poses of one body into another's. Both are (133, 3) on the canvas that will be drawn on.

    theirs      the clip's first pose;  ours  the picture's
    """

    def __init__(self, theirs: Any, ours: Any) -> None:
        import numpy as np

        theirs, ours = _with_neck(theirs), _with_neck(ours)
        self._their_neck, self._our_neck = theirs[_NECK, :2], ours[_NECK, :2]
        seen = {bone: ratio for bone in _BONES if (ratio := _ratio(theirs, ours, bone)) is not None}
        #: what is not seen changes as the whole does
        self.whole = float(np.median(list(seen.values()))) if seen else 1.0
        self.of = {bone: self._even(seen, bone) for bone in _BONES}

    def _even(self, seen: dict[tuple[int, int], float], bone: tuple[int, int]) -> float:
        """A bone's ratio, the mean of both sides: perspective shortens one of them."""
        other = (_OTHER.get(bone[0], bone[0]), _OTHER.get(bone[1], bone[1]))
        both = [seen[side] for side in {bone, other} if side in seen]
        return sum(both) / len(both) if both else self.whole

    def fit(self, pose: Any) -> Any:
        """The same pose with the other's bones, its neck where the picture's is plus the way it has moved."""
        import numpy as np

        there = _with_neck(pose)
        fitted = there.copy()
        fitted[_NECK, :2] = self._our_neck + (there[_NECK, :2] - self._their_neck) * self.whole
        for bone in _BONES:
            start, end = bone
            fitted[end, :2] = fitted[start, :2] + (there[end, :2] - there[start, :2]) * self.of[bone]
        for points, joint, bone in _HANGING:
            fitted[points, :2] = fitted[joint, :2] + (there[points, :2] - there[joint, :2]) * self.of[bone]
        return fitted[:COUNT].astype(np.float32)


def _with_neck(pose: Any) -> Any:
    import numpy as np

    neck = np.append((pose[5, :2] + pose[6, :2]) / 2, min(pose[5, 2], pose[6, 2]))
    return np.vstack([pose, neck])


def _ratio(theirs: Any, ours: Any, bone: tuple[int, int]) -> float | None:
    """How many times longer ours is; None when either is not seen."""
    import numpy as np

    if min(pose[point, 2] for pose in (theirs, ours) for point in bone) < _SURE:
        return None
    long, short = (float(np.linalg.norm(pose[bone[1], :2] - pose[bone[0], :2])) for pose in (ours, theirs))
    if short < 1 or long < 1:
        return None
    return min(max(long / short, 1 / _MOST), _MOST)
