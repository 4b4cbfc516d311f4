"""`wanfarm worker`: the GPU workers of this machine, for a farm that runs elsewhere (`wanfarm up` starts its own)."""

import os

import click

from farm.cli.session import Session, runs_here


@click.command()
@runs_here
def worker(session: Session) -> int:
    """Serve every GPU of this machine (or the CPU) for the farm of the configuration.

    One agent per GPU; what dies is started again. The first SIGTERM finishes the running renders, the second hands
    them back.
    """
    import logging

    from farm.agent.supervisor import main

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = session.farm_settings()
    if session.state_dir is not None:
        # the agents read their settings themselves
        os.environ["WANFARM_STATE_DIR"] = str(session.state_dir.absolute())
    return main(settings)
