"""Free ports of this machine, and the address by which others see it."""

import socket


def free_port(preferred: int = 0, host: str = "127.0.0.1") -> int:
    """`preferred` when it is free on `host`, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")


def own_address() -> str:
    """The address of this machine on the network that its default route uses; loopback when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # a datagram socket sends nothing at connect: it only picks the route (TEST-NET-1, RFC 5737)
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
