"""`wanfarm worker`: the GPU workers of this machine, for a farm that runs elsewhere (`wanfarm up` starts its own)."""

import os

import click

from farm.cli.session import Session, runs_here


@click.command()
@click.option(
    "--end-when-idle",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End an agent that had no job for so long, and this command with the last. Default: worker.end_when_idle_s.",
)
@runs_here
def worker(session: Session, end_when_idle: float | None) -> int:
    """Render for a farm, on every GPU of this machine or the CPU.

    The configuration names the farm's Redis and S3.
    One agent per GPU; what dies is started again. The first SIGTERM finishes the running renders, the second hands
    them back (worker.on_term = "hand_back": the first one does).
    """
    import importlib.util

    from farm.agent.supervisor import main
    from farm.config import WorkerSettings
    from farm.tracing import begin_logs

    if end_when_idle is not None:
        # for the agents, too
        os.environ["WANFARM_WORKER__END_WHEN_IDLE_S"] = str(end_when_idle)
    settings = session.farm_settings()
    begin_logs(json_lines=settings.logs.json_lines)
    if settings.worker.engine == WorkerSettings().engine and importlib.util.find_spec("torch") is None:
        raise click.ClickException("this installation renders nothing: pip install 'wanfarm[render]'")
    session.hand_on()
    return main(settings)
