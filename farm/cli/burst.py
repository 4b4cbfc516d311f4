"""`wanfarm burst`: buys from providers and follows what was bought (`wanfarm up` starts its own where one is known)."""

import click

from farm.cli.session import Session, runs_here


@click.command()
@runs_here
def burst(session: Session) -> int:
    """Buy what would wait too long here, within budget, and follow it to its end.

    Which providers there are, what may be bought and for how much is in the configuration. Several may run; what one
    of them leaves behind is followed by another.
    """
    import logging

    from farm.burst.process import main

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return main(session.farm_settings())
