"""`wanfarm burst`: buys from providers and follows what was bought (`wanfarm up` starts its own where one is known)."""

import click

from farm.cli.session import Session, runs_here


@click.command()
@runs_here
def burst(session: Session) -> int:
    """Buy jobs that would wait too long here, within budget.

    It follows each to its end.
    Which providers there are, what may be bought and for how much is in the configuration. Several may run; what one
    of them leaves behind is followed by another.
    """
    from farm.burst.process import main
    from farm.tracing import begin_logs

    settings = session.farm_settings()
    begin_logs(json_lines=settings.logs.json_lines)
    return main(settings)
