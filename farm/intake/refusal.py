"""Why a file is not taken, as its owner reads it. Imports nothing of the farm: the decoder's process uses it."""


class Refused(Exception):
    """A sentence for the file's owner that says what to do instead."""


def broken(kind: str) -> Refused:
    """What is said of a file that cannot be decoded. `kind`: picture, video or audio."""
    again = "save" if kind == "picture" else "encode"
    return Refused(f"the {kind} is broken or cut off; {again} it again and send the whole file")


def check_length(seconds: float, most_s: float) -> None:
    """Raises Refused for a clip or sound that is longer than is taken."""
    # a tenth of a second of grace: containers round, and sound comes in blocks
    if seconds > most_s + 0.1:
        raise Refused(f"{seconds:.4g} s are too long; {most_s:g} s are allowed. Cut it")
