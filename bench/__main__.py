"""`make bench`: every measurement in turn. `python -m bench wakeup ledger` runs some."""

import importlib
import sys

#: in the order in which a reader asks: how fast does it wake, what does a job cost, the gateway, floods, the ledger,
#: 100,000 shots in one request, a durable answer, many workers, how far approximations are
NAMES = ("wakeup", "overhead", "gateway", "floods", "ledger", "batches", "durability", "crowd", "distances")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"bench.{name}").main([])


if __name__ == "__main__":
    main()
