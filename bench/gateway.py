"""Authenticated, validated, durable POST /v1/jobs, beside a bare Flask route that only calls `.delay()`.

Same Redis, same gunicorn settings, same clients; the two take turns, so that both meet the same machine. The farm's
route checks a key and every field, writes the job, its indexes, its event and its place in the queue in one script, and
answers with the whole job; the bare one pushes a message.
"""

from collections.abc import Sequence

from bench.gateway_load import COLUMNS, in_turns, ratio, turns_parser
from bench.local_gateway import local_gateways
from bench.report import show


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    asked = turns_parser("python -m bench.gateway", __doc__, seconds=1.5, turns=10).parse_args(argv)
    with local_gateways() as ground:
        gateway, server = ground.settings.gateway, ground.server()
        farm, bare = ground.serve("farm"), ground.serve("bare", "bench.bare_gateway:app")
        rows = in_turns(ground, {"farm": farm, "bare": bare}, asked)
    show(
        "POST /v1/jobs at the gateway",
        ("", *COLUMNS),
        [
            ("farm: key, checks, ledger, whole job", *rows["farm"]),
            ("bare Flask route with .delay()", *rows["bare"]),
            ratio(rows, "farm", "bare"),
        ],
        f"gunicorn {gateway.processes} x {gateway.threads} threads, {asked.clients} kept-alive clients; aim: no slower",
        server=server,
    )


if __name__ == "__main__":
    main()
