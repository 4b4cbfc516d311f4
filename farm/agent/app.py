"""The Celery app of one agent: `celery -A farm.agent.app worker -P threads -c 1 -Q pool.<pool>`. It starts and ends
the agent with the Celery worker and decides what signals mean; farm.agent.agent handles permits.

First SIGTERM or SIGINT: drain. Second, or SIGQUIT: hand the attempts back and end.
"""

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from celery import bootsteps
from celery.worker import state

from farm import tracing
from farm.agent.agent import Agent
from farm.agent.supervisor import EX_IDLE, EX_QUARANTINED, EX_TEMPFAIL
from farm.claiming.celery_app import PERMIT_TASK, make_app
from farm.config import load
from farm.engine.slots import Slot, find_slots

log = logging.getLogger(__name__)

#: once the agent's own work is done, Celery has this long to end
_LEAVE_S = 5.0

settings = load()
app = make_app(settings, "agent")
tracing.begin("agent", settings.tracing.endpoint, settings.tracing.share)


def _useless(why: str) -> None:
    log.critical("this agent ends: %s", why)
    agent.hand_back()
    agent.close()
    os._exit(EX_TEMPFAIL)


def _quarantined(why: str) -> None:
    log.critical("this device is quarantined: %s", why)
    # Celery stops consuming, so that this agent takes no permit; its successor waits for the quarantine's end
    state.should_stop = EX_QUARANTINED
    threading.Thread(target=_drain, args=(EX_QUARANTINED,), name="leave", daemon=True).start()


def _idle() -> None:
    state.should_stop = EX_IDLE
    threading.Thread(target=_drain, args=(EX_IDLE,), name="leave", daemon=True).start()


_slot = Slot.parse(settings.worker.slot) if settings.worker.slot else find_slots(settings.worker.devices)[0]
agent = Agent(settings, _slot, _useless, _quarantined, _idle)


@app.task(name=PERMIT_TASK)
def permit(_pool: str, permit_id: str) -> None:
    """The Celery task behind a permit: claim a job and stay until the engine is about to be free."""
    agent.serve(permit_id)


class AgentStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts before the worker consumes, so that a permit is taken only by an agent that can use it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        self._signals = 0

    def start(self, _worker: Any) -> None:
        """Start the agent with the Celery worker. Returns when the engine is ready, or when the agent must end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._signalled)
        agent.start()
        agent.wait_ready()

    def stop(self, _worker: Any) -> None:
        """Celery takes no more permits: let what runs end, then say goodbye to the ledger."""
        log.info("Celery has stopped; what runs goes on to its end")
        agent.drain()
        agent.join()
        agent.close()

    terminate = stop

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        state.should_stop = 0
        first = self._signals == 1 and number != signal.SIGQUIT
        # a handler may interrupt anything, also a holder of a lock that this would need
        threading.Thread(target=_drain if first else _hand_back, name="leave", daemon=True).start()


def _drain(status: int = 0) -> None:
    log.info("draining: what runs is finished, nothing more is claimed")
    agent.drain()
    agent.join()
    # Celery ends by itself now, unless its connection hangs
    threading.Event().wait(_LEAVE_S)
    agent.close()
    os._exit(status)


def _hand_back() -> None:
    log.info("handing back what is held")
    agent.hand_back()
    agent.close()
    os._exit(0)


app.steps["worker"].add(AgentStep)
