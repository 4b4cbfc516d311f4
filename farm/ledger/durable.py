"""A script and then the question whether its writes are kept, on one connection of the pool."""

from typing import Any

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError

Word = str | int | float
Command = tuple[Word, ...]

#: ms that the mark lives which a repeated call writes
_MARK_MS = 1000


def run_and_ask(redis: Redis, script: Script, args: Command, question: Command, mark: str) -> tuple[Any, Any]:
    """The script's answer, and what the server says to `question` (WAITAOF or WAIT), which speaks about the writes of
    its own connection. Raises RedisError and OSError.

    When the connection breaks, both are sent again on a new one, maybe to a server that was promoted. The script may
    have run by then, and write nothing now; a server says yes at once to a connection that has written nothing. So the
    key `mark` is written in between: it is on disk after all that came before it.

    The question does not travel with the script: Valkey 9.1 would then answer at its next tick, 0.1 s later.
    """
    pool = redis.connection_pool
    connection = pool.get_connection()
    try:
        for last in (False, True):
            call = ("EVALSHA", script.sha, 0, *args)
            try:
                return _exchange(connection, (call, question), (call, ("SET", mark, 1, "PX", _MARK_MS), question))
            except NoScriptError:
                if last:
                    raise
                # on another connection: this one has to have written what it asks about
                script.sha = redis.script_load(script.script)
        raise AssertionError
    finally:
        pool.release(connection)


def _exchange(connection: Any, commands: tuple[Command, ...], again: tuple[Command, ...]) -> tuple[Any, Any]:
    """The first and the last answer. `again`: what is sent instead once the connection broke."""
    wanted = commands

    def ask() -> tuple[Any, Any]:
        answers = []
        for command in wanted:
            connection.send_command(*command)
            answers.append(connection.read_response())
        return answers[0], answers[-1]

    def broke(_error: Exception) -> None:
        nonlocal wanted
        wanted = again
        connection.disconnect()

    found: tuple[Any, Any] = connection.retry.call_with_retry(ask, broke)
    return found
