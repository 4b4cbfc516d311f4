"""What the bench has found so far, on disk after every row: a machine that is taken away takes nothing with it."""

import json
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu.clock import Clock

#: the process ends by itself this long after its time, when a row cannot be stopped in any other way
_GRACE_S = 15.0


#: exit status of a bench whose CUDA context was lost
BROKEN = 9


def _context_lost() -> bool:
    import torch

    try:
        torch.cuda.synchronize()
        return not bool(torch.ones(8, device="cuda").sum().item() == 8)
    except Exception:
        return True


class Journal:
    """One object, written whole: facts, and `rows` in the order in which they were tried. A row's `state` is
    "measured", "failed" (with `error`), "left out" (with `why`) or, while it runs, "begun"."""

    def __init__(
        self,
        path: Path | None,
        clock: Clock,
        rows: list[dict[str, Any]] | None = None,
        *,
        grace_s: float | None = None,
        **facts: Any,
    ) -> None:
        """rows: of a bench that this one goes on with. grace_s: for the row that runs when time is over."""
        self._path, self.clock = path, clock
        self.told: dict[str, Any] = {**facts, "rows": rows or []}
        self._writing = threading.Lock()
        #: what the card says of the time since time.perf_counter() said so
        self.card: Callable[[float], dict[str, Any]] = lambda _: {}
        self._last = threading.Timer(clock.left_s + (_GRACE_S if grace_s is None else grace_s), self._give_up)
        self._last.daemon = True
        self._last.start()
        self._write()

    def tell(self, **facts: Any) -> None:
        self.told.update(facts)
        self._write()

    def row(self, name: str, measure: Callable[[], dict[str, Any]], needs_s: float = 0.0) -> dict[str, Any]:
        """Measure a row and write its figures down, whatever comes of it. needs_s: left out when there is less time."""
        row: dict[str, Any] = {"row": name, "state": "begun", "at_s": round(self.clock.since_s, 1)}
        self.told["rows"].append(row)
        self._write()
        left_s = self.clock.left_s
        if left_s <= needs_s:
            row |= {"state": "left out", "why": f"{left_s:.0f} s were left, it was thought to take {needs_s:.0f} s"}
        else:
            print(f"[{self.clock.since_s:6.1f} s] {name}", flush=True)
            begun = time.perf_counter()
            try:
                row |= measure()
                row["state"] = "measured"
                row |= self.card(begun)
            except Exception as error:
                row |= {"state": "failed", "error": f"{type(error).__name__}: {str(error)[:2000]}"}
                # the frames hold tensors of gigabytes; the text says where it was
                row["where"] = traceback.format_exc(limit=-6)[-3000:]
                error.__traceback__ = None
                print(f"         failed: {row['error'].splitlines()[0][:300]}", flush=True)
                if self._gone(error):
                    row["took_s"] = round(self.clock.since_s - row["at_s"], 1)
                    self.told["broken_at"] = name
                    self._write()
                    print("the device's context is lost: what is left is for another process (--resume)", flush=True)
                    os._exit(BROKEN)
        row["took_s"] = round(self.clock.since_s - row["at_s"], 1)
        self._write()
        return row

    def teller(self, name: str) -> Callable[[dict[str, Any]], None]:
        """Writes down what a row has found so far."""

        def tell(found: dict[str, Any]) -> None:
            self.told["rows"][-1].update(found)
            self._write()

        return tell

    def close(self) -> None:
        self._last.cancel()
        self.tell(seconds=round(self.clock.since_s, 1))

    @staticmethod
    def _gone(error: Exception) -> bool:
        """Nothing will work in this process any more."""
        from models.render import faults

        return not faults.is_out_of_memory(error) and faults.fault_of(error).poisoned and _context_lost()

    def _give_up(self) -> None:
        """Time is over and a row does not stop: keep what there is."""
        for row in self.told["rows"]:
            if row["state"] == "begun":
                row |= {"state": "failed", "error": "cut off: it did not end in the bench's time"}
        self.told["cut_off"] = True
        self._write()
        print("cut off: the bench's time is over", flush=True)
        os._exit(3)

    def _write(self) -> None:
        if self._path is None:
            return
        with self._writing:
            draft = self._path.with_name(f".{self._path.name}")
            draft.write_text(json.dumps(self.told, indent=1, default=str) + "\n")
            draft.replace(self._path)
