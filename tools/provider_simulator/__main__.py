"""Start one: `python -m tools.provider_simulator --dialect kie --port 9001 --folder /tmp/kie`. Ctrl-C ends it."""

import argparse
import json
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tools.provider_simulator.dialects import DIALECTS
from tools.provider_simulator.faults import KNOWN
from tools.provider_simulator.server import SimulatorServer
from tools.provider_simulator.simulator import Knobs, Simulator


def _faults() -> str:
    lines = ["faults, for POST /_sim/faults {'faults': [{'on': .., 'do': .., 'times': 1 or 'chance': 0.1, ..}]}:"]
    lines += [f"  {on:9} {do:8} {text}" for on, rules in KNOWN.items() for do, text in rules.items()]
    return "\n".join(lines)


def main() -> None:
    """Serve until a signal ends it."""
    reader = argparse.ArgumentParser(
        prog="python -m tools.provider_simulator",
        description="A provider that costs nothing. GET /_sim/ledger shows what it accepted and charged.",
        epilog=_faults(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reader.add_argument(
        "--dialect", choices=sorted(DIALECTS), required=True, action="append", help="may be given several times"
    )
    reader.add_argument(
        "--port", type=int, default=0, help="of the first, the others follow it; 0: any that are free, printed"
    )
    reader.add_argument("--host", default="127.0.0.1")
    reader.add_argument("--folder", type=Path, required=True, help="accounts and clips are kept here")
    reader.add_argument("--key", default="sim-key")
    reader.add_argument("--secret", help="wiro: requests must be signed")
    reader.add_argument("--balance", type=float, default=100_000.0, help="of a new account, in the provider's unit")
    reader.add_argument("--settings", type=json.loads, default={}, help="JSON as for POST /_sim/settings")
    reader.add_argument("--faults", type=json.loads, default=[], help="a JSON list as for POST /_sim/faults")
    given = reader.parse_args()
    for number, name in enumerate(given.dialect):
        simulator = Simulator(
            DIALECTS[name], given.folder / name, key=given.key, secret=given.secret, balance=given.balance
        )
        simulator.knobs = Knobs(**given.settings)
        simulator.faults.set(given.faults)
        server = SimulatorServer(simulator, given.host, given.port and given.port + number)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"{name} listens on {simulator.address}", flush=True)
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt):
        signal.pause()


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
