"""`wanfarm exporter`: the metrics of the whole farm, for Prometheus (`wanfarm up` starts its own)."""

import click

from farm.cli.session import Session, runs_here


@click.command()
@runs_here
def exporter(session: Session) -> int:
    """Show the whole farm's numbers to Prometheus, on exporter.host and exporter.port.

    It reads the ledger of the configuration at each scrape. One is enough for a farm.
    """
    import logging

    from farm.exporter.exporter import main

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return main(session.farm_settings())
