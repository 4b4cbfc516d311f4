"""`wanfarm exporter`: the metrics of the whole farm, for Prometheus (`wanfarm up` starts its own)."""

import click

from farm.cli.session import Session, runs_here


@click.command()
@runs_here
def exporter(session: Session) -> int:
    """Serve the metrics of the whole farm to Prometheus.

    The page is on exporter.host and exporter.port.
    It reads the ledger of the configuration at each scrape. One is enough for a farm.
    """
    from farm.exporter.exporter import main
    from farm.tracing import begin_logs

    settings = session.farm_settings()
    begin_logs(json_lines=settings.logs.json_lines)
    return main(settings)
