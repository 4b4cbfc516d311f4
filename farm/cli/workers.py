"""`wanfarm workers`: who renders, for operators."""

import click

from farm.cli.session import Session, asks_the_farm


@click.command()
@asks_the_farm
def workers(session: Session) -> None:
    """List the live workers: device, what is loaded, what they do. Needs an operator's key."""
    with session.client(admin=True) as client:
        found = client.workers()
    if session.out.as_json:
        session.out.document(found)
        return
    columns = ("worker", "pool", "state", "device", "lane", "job")
    session.out.table(
        columns, [[_cell(worker.get(name)) for name in columns] for worker in found], empty="no worker is alive"
    )


def _cell(value: object) -> object:
    return value.get("name", value) if isinstance(value, dict) else value
