"""The farm's scheduling beside other rules on the same traces. 8 and 64 GPUs take minutes; 1,000 is an option."""

import argparse
from collections.abc import Iterable, Sequence
from itertools import chain

from bench.ledger import redis_server
from bench.report import checked_server, machine
from bench.simulation.farm import simulate
from bench.simulation.figures import Figures, figures
from bench.simulation.ledger_policy import LedgerPolicy
from bench.simulation.policy import ALTERNATIVES, Policy
from bench.simulation.traces import TRACES, make
from farm.config import RedisSettings
from farm.ledger import connect

COLUMNS = ("makespan", "shortfall", "finish ratio", "Jain", "p50 wait", "p95 wait", "deadlines", "loads", "idle s")


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table for each number of GPUs."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulation", description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--traces", nargs="+", choices=TRACES, default=list(TRACES))
    parser.add_argument("--size", type=float, default=1.0, help="how many shots, against the usual number")
    parser.add_argument("--seed", type=int, default=1)
    also = "the farm again with other settings: affinity_window=32,affinity_passes=16"
    parser.add_argument("--also", nargs="+", default=[], type=_changed, metavar="NAME=VALUE,...", help=also)
    names = [rule.name for rule in ALTERNATIVES]
    parser.add_argument("--beside", nargs="*", choices=names, default=names, help="the alternatives")
    options = parser.parse_args(argv)
    with redis_server() as url, connect(RedisSettings(ledger_url=url)) as redis:
        server = checked_server(redis, fsync="no")
        print(f"On {machine()}; {server}")
        for gpus in options.gpus:
            print(f"\n{gpus} GPUs\n\n| trace | rule | {' | '.join(COLUMNS)} |\n|---|---|{'---:|' * len(COLUMNS)}")
            for name in options.traces:
                trace = make(name, gpus=gpus, size=options.size, seed=options.seed)
                # one at a time: the next ledger takes the place of the one before
                farms = (LedgerPolicy(trace, redis, changes) for changes in ({}, *options.also))
                others = (rule(trace) for rule in ALTERNATIVES if rule.name in options.beside)
                rules: Iterable[Policy] = chain(farms, others)
                for n, rule in enumerate(rules):
                    out = simulate(trace, rule)
                    print(f"| {'' if n else trace.name} | {out.policy} | {_cells(figures(out))} |", flush=True)


def _cells(one: Figures) -> str:
    cells: tuple[str, ...] = (
        f"{one.makespan:.3f}",
        f"{one.shortfall:.1%}",
        f"{one.ratio:.2f}",
        f"{one.jain:.3f}",
        f"{one.p50_s:.0f}",
    )
    cells += (f"{one.p95_s:.0f}", f"{one.deadlines:.0%}", f"{one.loads}", f"{one.idle_s:.0f}")
    return " | ".join(cells)


def _changed(text: str) -> dict[str, float]:
    """Settings of `scheduling` from NAME=VALUE,..."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name: float(value) for name, _, value in pairs}


if __name__ == "__main__":
    main()
