"""An update is done wholly or not at all: Ctrl-C, pressed in its midst, waits until its end."""

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class uninterrupted:
    """Signals that would raise an exception inside the block raise it at the block's end.

    Python runs signal handlers in the main thread alone, so elsewhere there is nothing to do; and a
    signal whose handler is not Python code either does nothing or ends the process.
    """

    def __enter__(self) -> None:
        self.late: list[tuple[int, FrameType | None]] = []
        self.handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self.handlers[number] = handler
                    signal.signal(number, self._wait)

    def _wait(self, number: int, frame: FrameType | None) -> None:
        self.late.append((number, frame))

    def __exit__(self, *exc_info: Any) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        for number, frame in self.late:
            self.handlers[number](number, frame)
