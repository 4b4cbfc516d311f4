"""`wanfarm workers`: who renders, for operators; and the device that is given another chance."""

import click

from farm.cli.by_hand import by_hand
from farm.cli.ledger_here import farm_here
from farm.cli.session import Session, asks_the_farm, runs_here

_COLUMNS = ("worker", "pool", "state", "device", "lane", "job")


@click.group(invoke_without_command=True)
@asks_the_farm
def workers(session: Session) -> None:
    """List the live workers: device, what is loaded, what they do. Needs an operator's key."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    with session.client(admin=True) as client:
        found = client.workers()
    if session.out.as_json:
        session.out.document([worker.model_dump(mode="json") for worker in found])
        return
    session.out.table(
        _COLUMNS,
        [
            [one.worker, one.pool, f"{one.state}{', locked' if one.locked else ''}", one.device, one.lane, one.job]
            for one in found
        ],
        empty="no worker is alive",
    )
    for worker in found:
        if worker.reason:
            until = f" until {worker.until}" if worker.until else ""
            session.out.line(f"{worker.worker} is {worker.state}{until}: {worker.reason}")


@workers.command("forgive")
@click.argument("worker")
@click.option("--why", required=True, help="Kept in the log of what operators did.")
@runs_here
def forgive(session: Session, worker: str, why: str) -> None:
    """Lift the quarantine of a worker. WORKER is its name in `wanfarm workers`."""
    from farm.jobs.errors import Conflict, NotFound
    from farm.jobs.worker_status import WorkerState

    with farm_here(session) as here:
        found = {one.worker: one.status for one in here.ledger.workers()}
        if worker not in found:
            raise NotFound(f"no live worker {worker!r}; see wanfarm workers")
        if found[worker].state is not WorkerState.QUARANTINED:
            raise Conflict(f"{worker} is not quarantined")
        here.ledger.forgive(worker, by_hand(why))
    if session.out.as_json:
        session.out.document({"forgiven": worker})
    else:
        session.out.say(f"{worker} is told; it works again in a moment")
