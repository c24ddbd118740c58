"""`cupy.cuda` for programs that never leave device 0 and its null stream."""

from strict_cupy import device


def is_available():
    return device.has_driver


class Device:
    def __init__(self, device_id=0):
        device.allocate()
        self.id = int(device_id)

    def synchronize(self):
        device.synchronise()

    def use(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    __hash__ = None

    def __int__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


class Stream:
    """Everything runs at once and in order, on whichever stream."""

    null: "Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        device.allocate()

    def synchronize(self):
        device.synchronise()

    def use(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass


Stream.null = object.__new__(Stream)  # it exists on machines without a GPU, too


def get_current_stream():
    return Stream.null


class runtime:
    """`cupy.cuda.runtime`, the thin layer over the C library."""

    CUDARuntimeError = device.CUDARuntimeError

    @staticmethod
    def getDeviceCount():
        device.allocate()
        return 1

    @staticmethod
    def getDevice():
        device.allocate()
        return 0

    @staticmethod
    def deviceSynchronize():
        device.synchronise()
