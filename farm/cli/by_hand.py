"""Who types a command on the farm's own machine, as the log of operations names them."""

import getpass
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.ledger.operations import Actor


def by_hand(why: str = "") -> "Actor":
    """The user of the shell and the machine."""
    from farm.ledger.operations import Actor

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        user = "somebody"
    return Actor(f"shell {user}@{socket.gethostname()}", why)
