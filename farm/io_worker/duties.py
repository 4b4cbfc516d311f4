"""Runs each of beat's duties in a thread of its own, so that none waits for another or for intake. A duty that still
runs when it is due again is not started a second time."""

import logging
import threading
from collections.abc import Callable, Mapping

from farm.jobs.errors import FarmError

log = logging.getLogger(__name__)


class Duties:
    """`duties`: name -> what is to be done, one call of it at a time."""

    def __init__(self, duties: Mapping[str, Callable[[], object]]) -> None:
        self._duties = dict(duties)
        self._running = {name: threading.Lock() for name in duties}

    def begin(self, name: str) -> bool:
        """Begin a duty and return at once; False when it still runs. Errors are logged: beat asks again."""
        running = self._running[name]
        if not running.acquire(blocking=False):
            log.info("%s still runs: not begun again", name)
            return False
        try:
            threading.Thread(target=self._run, args=(name,), name=name, daemon=True).start()
        except BaseException:
            running.release()
            raise
        return True

    def _run(self, name: str) -> None:
        try:
            self._duties[name]()
        except FarmError as error:
            log.warning("%s: %s", name, error)
        except Exception:
            log.exception("%s failed", name)
        finally:
            self._running[name].release()
