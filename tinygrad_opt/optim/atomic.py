"""An update is done wholly or not at all: Ctrl-C, pressed in its midst, waits until its end."""

import _signal  # type: ignore[import-not-found]
import contextlib
import signal
import threading
from types import FrameType
from typing import Any

# The functions of `signal` without the enums that it puts around them, which cost more than the
# update of a small model does.
getsignal, set_signal = _signal.getsignal, _signal.signal

_SIGNALS = tuple(int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM")
                 if hasattr(signal, name))  # fmt: skip


class uninterrupted:
    """Signals that would raise an exception inside the block raise it at the block's end.

    Python runs signal handlers in the main thread alone, so elsewhere there is nothing to do; and a
    signal whose handler is not Python code either does nothing or ends the process.
    """

    def __enter__(self) -> None:
        self.late: list[tuple[int, FrameType | None]] = []
        self.handlers: dict[int, Any] = {}
        self.waiting = True
        if threading.current_thread() is threading.main_thread():
            try:
                for number in _SIGNALS:
                    handler = getsignal(number)
                    if callable(handler):
                        self.handlers[number] = handler
                        set_signal(number, self._wait)
            except BaseException:  # a signal came between the two, and its handler raised
                self._restore()
                raise

    def _wait(self, number: int, frame: FrameType | None) -> None:
        if self.waiting:
            self.late.append((number, frame))
        else:  # it came while the handlers were being put back, and one of them raised
            self.handlers[number](number, frame)

    def __exit__(self, *exc_info: Any) -> None:
        try:
            self._restore()
        finally:
            if self.late:
                self._deliver()

    def _deliver(self) -> None:
        with contextlib.ExitStack() as each:  # all of them, though the first may raise
            for number, frame in reversed(self.late):
                each.callback(self.handlers[number], number, frame)

    def _restore(self) -> None:
        try:
            self._put_back()
        except BaseException:  # a signal whose handler was back already, when others were not
            self._put_back()
            raise
        finally:
            self.waiting = False

    def _put_back(self) -> None:
        for number, handler in self.handlers.items():
            set_signal(number, handler)
