"""Calls that may hang: made on one background thread and waited for with a deadline, so that nobody waits for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any


class Bounded:
    """One daemon thread that makes calls in order. A call that misses its deadline ends the service, never the caller."""

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue[tuple[bool, Any]]]] = (
            queue.SimpleQueue()
        )
        self._stuck = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            function, answer = self._waiting.get()
            try:
                answer.put((True, function()))
            except BaseException as problem:  # whatever it was belongs to the caller, who is in another thread
                answer.put((False, problem))

    def call(self, function: Callable[[], Any], seconds: float) -> Any:
        """``function()`` within ``seconds``; raises what it raised, or TimeoutError. After one timeout every call times out."""
        if self._stuck:
            raise TimeoutError("an earlier call has not come back")
        answer: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._waiting.put((function, answer))
        try:
            fine, result = answer.get(timeout=seconds)
        except queue.Empty:
            self._stuck = True
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        if not fine:
            raise result
        return result
