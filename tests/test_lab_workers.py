"""Workers start together, work alone on one BLAS thread each, and end with the process that they
work for, however that ends, in the midst of their work and without a word."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from tinygrad_opt.lab.workers import THREADS, mapping, workers

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals a group of processes")

KILLED = """
import os, sys, time
from pathlib import Path

def meet(folder):  # two are here at the same time, or nobody leaves
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.01)
    return os.getpid()

if __name__ == "__main__":
    from tinygrad_opt.lab.workers import mapping
    with mapping(2) as run:
        print(*run(meet, sys.argv[1:] * 2), flush=True)
        os._exit(7)
"""

BUSY = """
import os, time

def work(seconds):
    os.write(1, b"at work\\n")
    time.sleep(seconds)

if __name__ == "__main__":
    from tinygrad_opt.lab.workers import mapping
    with mapping(2) as run:
        list(run(work, (300, 300, 300)))
"""

STARTING = """
import os, sys, time
from pathlib import Path

if __name__ == "__mp_main__":  # a worker that has not come to its first line of ours
    os.write(1, b"at work\\n")
    while not Path(sys.argv[1], "go on").exists():
        time.sleep(0.01)

if __name__ == "__main__":
    from tinygrad_opt.lab.workers import mapping
    with mapping(2) as run:
        list(run(time.sleep, (300, 300)))
"""

# The lab as a command, with experiments that last.
COMMAND = """
import os, sys, time
from tinygrad_opt.cli import main
from tinygrad_opt.lab import experiments

def busy(seed):
    os.write(1, b"at work\\n")
    time.sleep(300)

for experiment in experiments.experiments().values():
    object.__setattr__(experiment, "run", busy)

if __name__ == "__main__":
    sys.exit(main(["lab", "plateau", "momentum", "memory", "--jobs", "2"]))
"""


def _heed_interrupts():
    """Tests that a shell runs in its background ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def started(script, tmp_path):
    """The process of a script once two of its workers have said that they are at work; none of it
    is left afterwards."""
    (tmp_path / "script.py").write_text(script, "utf-8")
    with subprocess.Popen(
        [sys.executable, "script.py", "."], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, cwd=tmp_path, preexec_fn=_heed_interrupts,
    ) as process:  # fmt: skip
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["at work\n"] * 2
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def ended(process):
    """Its exit code and what it still said. The workers hold its output too: it ends when they
    do."""
    said = process.communicate(timeout=60)
    return process.returncode, *said


# ---- how they work -------------------------------------------------------------------------------


def environment(names):
    return [os.environ.get(name) for name in names]


def test_each_worker_has_one_blas_thread_and_the_environment_stays_as_it_was(monkeypatch):
    monkeypatch.setenv(THREADS[0], "3")
    monkeypatch.delenv(THREADS[1], raising=False)
    with mapping(2) as run:
        assert list(run(environment, [THREADS])) == [["1"] * len(THREADS)]
        assert environment(THREADS[:2]) == ["3", None]


def test_one_job_is_done_in_this_process():
    with mapping(1) as run:
        assert list(run(lambda _: os.getpid(), [0])) == [os.getpid()]


def test_all_workers_start_at_once_though_the_first_be_ready_before_the_last_is_asked_for(
    monkeypatch,
):
    submit, asked = ProcessPoolExecutor.submit, []

    def slowly(pool, function):
        if len(asked) == 1:
            concurrent.futures.wait(asked, timeout=3)  # an idle worker would take the next task
        asked.append(submit(pool, function))

    monkeypatch.setattr(ProcessPoolExecutor, "submit", slowly)
    before = multiprocessing.active_children()
    with workers(2):
        assert len(multiprocessing.active_children()) == len(before) + 2


def test_an_error_in_a_worker_comes_out_and_the_others_do_not_work_to_the_end():
    with pytest.raises(ZeroDivisionError), mapping(2) as run:
        list(run(fails_or_lasts, (True, False)))


def fails_or_lasts(fails):
    return 1 / 0 if fails else time.sleep(300)


def test_a_worker_that_is_killed_is_an_error():
    with pytest.raises(BrokenProcessPool), mapping(2) as run:
        list(run(os._exit, [9]))


# ---- how they end --------------------------------------------------------------------------------


def test_workers_end_when_the_process_that_they_work_for_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED, "utf-8")
    (tmp_path / "meeting").mkdir()
    command = [sys.executable, str(script), str(tmp_path / "meeting")]
    # The workers hold its output too: it ends when they do.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert len(set(done.stdout.split())) == 2, done.stderr
    assert done.returncode == 7


@posix
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_an_interrupt_ends_workers_in_the_midst_of_their_work_and_they_say_nothing(tmp_path, send):
    with started(BUSY, tmp_path) as process:
        send(process.pid, signal.SIGINT)
        _, printed, errors = ended(process)
    assert printed == ""
    assert errors.count("Traceback") == 1  # of the process that was interrupted
    assert errors.rstrip().endswith("KeyboardInterrupt")


@posix
def test_an_interrupt_ends_workers_that_have_not_yet_begun_and_they_say_nothing(tmp_path):
    with started(STARTING, tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)
        (tmp_path / "go on").touch()
        _, printed, errors = ended(process)
    assert printed == ""
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_script_that_is_terminated_or_killed(tmp_path, number):
    with started(BUSY, tmp_path) as process:
        os.kill(process.pid, number)
        code, printed, errors = ended(process)
    assert (code, printed) == (-number, "")
    assert "Traceback" not in errors


@posix
@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize(("number", "code", "words"), [
    (signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, ""),
])  # fmt: skip
def test_a_command_that_is_interrupted_or_terminated_ends_with_its_workers_and_no_traceback(
    tmp_path, number, code, words, send
):
    with started(COMMAND, tmp_path) as process:
        send(process.pid, number)
        assert ended(process) == (code, "", words)
