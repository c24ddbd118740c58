"""Whatever happens to a checkpoint, there is one to load: damage is found, a kill leaves one.

What ends or cripples a process is done to a process of its own, by the functions at the end:

    python tests/test_checkpoint_faults.py at_random FOLDER 200
"""

import collections
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt.checkpoint import CheckpointError, load, save

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"

posix = pytest.mark.skipif(sys.platform == "win32", reason="kill, fork and limits are POSIX's")


def trained(sizes, steps):
    """A model of these layers and its optimizer, after some steps."""
    tg.manual_seed(0)
    model = tg.nn.MLP(sizes)
    optimizer = tg.optim.Momentum(model.named_parameters(), lr=0.1)
    for _ in range(steps):
        for t in model.parameters():
            t.grad = np.ones(t.shape, "float32")
        optimizer.step()
    return {"model": model, "optimizer": optimizer}


# ---- damage --------------------------------------------------------------------------------------


def answer(path):
    """How `load` answers: "silent", "fell back", "refused", or an error that is none of ours."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = load(path)
        except CheckpointError:
            return "refused"
        except Exception as error:
            return f"raised {type(error).__name__}"
    if found.path == path:
        return "silent"
    assert [str(w.message).partition(":")[0][:8] for w in warned] == ["run.ckpt"]
    return "fell back" if found.step == 1 else "silent"


def truncated(file, data):
    """The file at every length, from one byte too few to none."""
    for end in reversed(range(len(data))):
        file.truncate(end)
        yield


def flipped(file, data, bits=range(8)):
    """The file with each of its bits turned over, one at a time."""
    for place, bit in itertools.product(range(len(data)), bits):
        file.seek(place)
        file.write(bytes([data[place] ^ 1 << bit]))
        yield
        file.seek(place)
        file.write(data[place : place + 1])


def flipped_once(file, data):
    """Of each byte the fifth bit alone, which turns letters into other letters."""
    return flipped(file, data, [4])


@pytest.mark.parametrize("harm, older, bits", [
    (truncated, False, 1), (truncated, True, 1), (flipped_once, False, 1), (flipped, True, 8),
])  # fmt: skip
def test_no_damage_is_silent_and_none_raises_another_error(
    harm, older, bits, tmp_path, record_property
):
    path = tmp_path / "run.ckpt"
    if older:
        save(path, **trained([2, 1], steps=1))
    save(path, **trained([2, 1], steps=2), notes={"µ": "ü"})
    data = path.read_bytes()
    assert load(path).step == 2
    with path.open("r+b", buffering=0) as file:
        answers = collections.Counter(answer(path) for _ in harm(file, data))
    assert dict(answers) == {"fell back" if older else "refused": bits * len(data)}
    if older:
        assert f" | {bits * len(data):,} | silent: 0" in PAGE.read_text("utf-8")
    record_property(f"{harm.__name__} of {len(data):,} bytes", str(dict(answers)))


def test_a_disk_that_gives_back_other_bytes_is_found_out_before_the_old_file_is_lost(
    tmp_path, monkeypatch
):
    path = tmp_path / "run.ckpt"
    save(path, **trained([2, 1], steps=1))
    old, read = path.read_bytes(), Path.read_bytes

    def read_badly(self):
        data = read(self)
        return data if self == path else data[:-1] + bytes([data[-1] ^ 1])

    monkeypatch.setattr(Path, "read_bytes", read_badly)
    with pytest.raises(CheckpointError, match="read back is not what was written"):
        save(path, **trained([2, 1], steps=2))
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_that_raises_while_it_is_asked_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.ckpt"
    save(path, **trained([2, 1], steps=1))
    old = path.read_bytes()
    with pytest.raises(TypeError, match="notes/x"):
        save(path, **trained([2, 1], steps=2), notes={"x": object()})
    assert path.read_bytes() == old


def test_what_cannot_be_written_is_told_by_the_name_that_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: 'nowhere/run.ckpt'$"):
        save("nowhere/run.ckpt", **trained([2, 1], steps=1))
    assert not list(tmp_path.iterdir())


# ---- what happens to a process -------------------------------------------------------------------


def elsewhere(function, *arguments):
    """What a function of this file returns, called in a process of its own."""
    command = [sys.executable, __file__, function.__name__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
def test_a_kill_at_whatever_line_of_saving_leaves_a_whole_checkpoint(tmp_path, record_property):
    found = elsewhere(at_each_line, tmp_path)
    assert found["old"] > 50
    assert found["new"] > 3  # lines, between the replacement and the end
    assert found["files at last"] == 2  # what one that was killed before had left is swept up
    record_property("killed at each line", str(found))


@posix
def test_a_kill_at_random_moments_of_saving_leaves_a_whole_checkpoint(tmp_path, record_property):
    found = elsewhere(at_random, tmp_path, 60)
    assert found["unloadable"] == found["warned"] == 0
    assert found["kills"] == 60
    assert min(found["in the midst"], found["saves"]) > 0
    assert found["left after the next save"] == ["run.ckpt", "run.ckpt.previous"]
    record_property("killed at random", str(found))


@posix
def test_a_full_disk_leaves_the_old_file_wherever_it_ends(tmp_path, record_property):
    found = elsewhere(on_a_full_disk, tmp_path)
    assert found.pop("saved, with room enough")
    assert found == {"OSError": 40, "intact": 40}
    record_property("full disk", str(found))


@posix
def test_a_folder_that_cannot_be_written_leaves_the_old_file():
    found = elsewhere(in_a_locked_folder)
    told = "[Errno 13] Permission denied: 'FOLDER/run.ckpt'"
    assert found == {"error": told, "intact": True, "files": 1}


# ---- done in a process of its own ----------------------------------------------------------------


def loaded(path):
    """The step in the file, or why there is none; a warning counts as a reason."""
    try:
        with warnings.catch_warnings(action="error"):
            return load(path).step
    except (CheckpointError, RuntimeWarning) as error:
        return str(error)


def in_a_child(act):
    """How a child of this process that does `act` ends: its exit code, or -signal."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(7 if sys.exc_info()[0] else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_each_line(folder):
    """Kill a child at each line of `save` and of files.py that it runs, and look."""
    path, found = Path(folder) / "run.ckpt", collections.Counter()
    for steps in (0, 1):
        save(path, **trained([3, 2], steps))
    there, new = {name: name.read_bytes() for name in path.parent.iterdir()}, trained([3, 2], 2)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    there[path.with_name(f".run.ckpt.{gone.pid}")] = b"of one that was killed before"
    for count in itertools.count():
        for name in path.parent.iterdir():
            name.unlink()
        for name, content in there.items():
            name.write_bytes(content)

        def killed_on_the_way(left=count):
            def trace(frame, event, arg):
                nonlocal left
                code = frame.f_code
                if code is not save.__code__ and Path(code.co_filename).name != "files.py":
                    return None
                if event == "line":
                    left -= 1
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return trace

            sys.settrace(trace)
            save(path, **new)

        code = in_a_child(killed_on_the_way)
        step, kept = loaded(path), loaded(path.with_name("run.ckpt.previous"))
        assert (step, kept) in ((1, 0), (1, 1), (2, 1)), f"at line {count}: {step}, {kept}"
        if code == 0:
            assert step == 2
            return {**found, "files at last": len(list(path.parent.iterdir()))}
        assert code == -signal.SIGKILL
        found["old" if step == 1 else "new"] += 1


def at_random(folder, kills):
    """Kill a child that saves on and on, at random moments, and look each time."""
    path, draw = Path(folder) / "run.ckpt", random.Random(0)
    run = trained([100, 300, 10], steps=1)
    started = time.perf_counter()
    save(path, **run)
    long = 3 * (time.perf_counter() - started)
    found = {"kills": 0, "unloadable": 0, "warned": 0, "in the midst": 0, "saves": 0}
    hear, say = os.pipe()
    for _ in range(int(kills)):
        child = os.fork()
        if child == 0:
            while True:
                os.write(say, b".")
                run["optimizer"].t += 1
                save(path, **run)
        os.read(hear, 1)  # it has begun
        time.sleep(draw.random() * long)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found["kills"] += 1
        found["in the midst"] += any(name.startswith(".") for name in os.listdir(folder))
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                run["optimizer"].t = load(path, model=run["model"]).step
            found["warned"] += len(warned)
        except CheckpointError:
            found["unloadable"] += 1
    found["saves"] = run["optimizer"].t - 1
    save(path, **run)
    return {**found, "left after the next save": sorted(os.listdir(folder))}


def on_a_full_disk(folder):
    """Save where a file may have no more than so many bytes, for 40 numbers of them."""
    import resource

    path, found = Path(folder) / "run.ckpt", collections.Counter()
    save(path, **trained([40, 30], steps=1))
    old, new = path.read_bytes(), trained([40, 30], steps=2)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in np.linspace(0, len(old) - 1, 40).astype(int).tolist():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            save(path, **new)
        except OSError as error:
            found["OSError"] += error.filename in (None, str(path))
        found["intact"] += path.read_bytes() == old and os.listdir(folder) == ["run.ckpt"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) + 100, hard))
    save(path, **new)
    return {**found, "saved, with room enough": loaded(path) == 2}


def in_a_locked_folder():
    """Save where one may read and not write; root, who may always, becomes nobody for it."""
    with tempfile.TemporaryDirectory() as folder:  # that of a test is closed to nobody
        path, found = Path(folder) / "run.ckpt", {}
        save(path, **trained([2, 1], steps=1))
        old, new = path.read_bytes(), trained([2, 1], steps=2)
        os.chmod(folder, 0o555)
        if os.getuid() == 0:
            os.seteuid(65534)
        try:
            save(path, **new)
        except OSError as error:
            found["error"] = str(error).replace(folder, "FOLDER")
        os.seteuid(os.getuid())
        os.chmod(folder, 0o755)
        return {**found, "intact": path.read_bytes() == old, "files": len(os.listdir(folder))}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
