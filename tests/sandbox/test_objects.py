"""The store of snapshots: whole after any kill, sound with many hands at once, and giving back what is dropped."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from acts import walk
from worlds import LocalAgent

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.inside import tree_objects
from agentdistill.sandbox.objects import PIECE
from agentdistill.sandbox.shell import ShellState
from agentdistill.sandbox.snapshots import FILE, SnapshotStore

SHELL = ShellState()


@pytest.fixture
def store(tmp_path) -> Iterator[SnapshotStore]:
    with closing(SnapshotStore(tmp_path / "store")) as store:
        yield store


@pytest.fixture
def agent(tmp_path) -> Iterator[LocalAgent]:
    with closing(fresh(tmp_path)) as agent:
        yield agent


def fresh(place: Path) -> LocalAgent:
    root = place / f"tree-{os.getpid()}-{time.monotonic_ns()}"
    root.mkdir()
    return LocalAgent(root)


def world_of(agent: LocalAgent):
    return walk(os.fsencode(agent.root))


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def change(agent: LocalAgent, luck: random.Random) -> None:
    for _ in range(3):
        folder = agent.root / f"d{luck.randrange(4)}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{luck.randrange(6)}").write_bytes(luck.randbytes(luck.choice([0, 10, 3000, 2 * PIECE + 5])))


# ---- what is dropped -------------------------------------------------------------------------------------------------


def test_equal_parts_are_kept_once_and_what_nothing_needs_gives_its_bytes_back(tmp_path, agent, store):
    for name in ("a", "b", "d/c"):
        (agent.root / name).parent.mkdir(exist_ok=True)
        (agent.root / name).write_bytes(b"equal" * 100_000)
    first = store.keep(agent, SHELL)
    small = bytes_of(tmp_path / "store")
    assert small < 1_200_000
    (agent.root / "b").write_bytes(os.urandom(8_000_000))
    second = store.keep(agent, SHELL)
    store.drop([second])
    assert store.collect() > 8_000_000 / PIECE
    assert bytes_of(tmp_path / "store") < small + 100_000
    assert store.keep(agent, SHELL) == second, "what the agent gave before is asked for again"
    store.drop([first])
    store.collect()
    with closing(fresh(tmp_path)) as fork:
        store.restore(fork, second)
        assert world_of(fork) == world_of(agent)
    with pytest.raises(SnapshotError, match="not kept"):
        store.restore(agent, first)


def test_many_that_are_dropped_are_swept_without_being_asked(tmp_path, agent, store):
    for number in range(200):
        (agent.root / "f").write_bytes(os.urandom(100_000))
        store.drop([store.keep(agent, SHELL)])
        assert bytes_of(tmp_path / "store") < 20_000_000, number


def test_a_file_that_looks_like_a_directory_is_not_taken_for_one(tmp_path, agent, store):
    (agent.root / "d").mkdir()
    (agent.root / "d/f").write_bytes(b"needed")
    content = b"needed"
    entry = (b"f", tree_objects.FILE, 0o644, tree_objects.content_digest((content,)))
    (agent.root / "0").write_bytes(tree_objects.encode_directory([entry]))
    (agent.root / "z").write_bytes(tree_objects.encode_directory([entry]))
    kept, world = store.keep(agent, SHELL), world_of(agent)
    store.collect()
    with closing(fresh(tmp_path)) as fork:
        store.restore(fork, kept)
        assert world_of(fork) == world


def test_a_restore_is_not_disturbed_by_a_sweep_in_the_middle(tmp_path, agent, store):
    (agent.root / "f").write_bytes(os.urandom(1000))
    kept = store.keep(agent, SHELL)

    class Meddling(LocalAgent):
        def __call__(self, request, *rest, **more):
            if request["do"] == "look":
                store.drop([kept])
                store.collect()
            return super().__call__(request, *rest, **more)

    root = tmp_path / "meddled"
    root.mkdir()
    with closing(Meddling(root)) as fork:
        store.restore(fork, kept)
        assert world_of(fork) == world_of(agent)
    assert not store.holds(kept)


def test_a_world_is_kept_as_long_as_somebody_owns_it(tmp_path, agent, store):
    worlds = {}
    for number, owners in enumerate((["one"], ["one", "other"], ["other"], ["one", ""])):
        (agent.root / "f").write_text(str(number))
        names = {store.keep(agent, SHELL, owner) for owner in owners * 2}
        assert len(names) == 1
        worlds[number] = names.pop()
    store.release("nobody")
    assert [store.holds(worlds[number]) for number in range(4)] == [True] * 4
    store.release("one")
    store.release("one")
    assert [store.holds(worlds[number]) for number in range(4)] == [False, True, True, True]
    store.release("other")
    assert [store.holds(worlds[number]) for number in range(4)] == [False, False, False, True]
    store.collect()
    with closing(fresh(tmp_path)) as fork:
        store.restore(fork, worlds[3])
        assert world_of(fork) == world_of(agent)
    store.drop([worlds[3]])
    assert not store.holds(worlds[3])
    assert store.keep(agent, SHELL, "one") == worlds[3], "what was dropped can be kept again"
    store.release("one")
    assert not store.holds(worlds[3])


# ---- the budget ------------------------------------------------------------------------------------------------------


def test_what_the_budget_does_not_allow_is_refused_and_harms_nothing(tmp_path, agent):
    with closing(SnapshotStore(tmp_path / "store", budget_bytes=3_000_000)) as store:
        kept = []
        for _ in range(4):
            (agent.root / "f").write_bytes(os.urandom(600_000))
            kept.append((store.keep(agent, SHELL), world_of(agent)))
        for _ in range(2):
            (agent.root / "f").write_bytes(os.urandom(600_000))
            with pytest.raises(SnapshotError, match="budget"):
                store.keep(agent, SHELL)
        assert bytes_of(tmp_path / "store") < 3_000_000 + 5_000_000  # the journal comes on top
        store.drop([kept.pop(0)[0]])
        kept.append((store.keep(agent, SHELL), world_of(agent)))
        for name, world in kept:
            store.restore(agent, name)
            assert world_of(agent) == world


# ---- many hands ------------------------------------------------------------------------------------------------------

WORK = """
import os, random, sys
from contextlib import closing
from pathlib import Path
sys.path[:0] = {path!r}
from test_objects import SHELL, change, fresh, world_of
from agentdistill.sandbox.snapshots import SnapshotStore

luck = random.Random({seed})
with closing(SnapshotStore(Path({place!r}) / "store")) as store, closing(fresh(Path({place!r}))) as agent:
    for step in range({steps}):
        change(agent, luck)
        name = store.keep(agent, SHELL)
        print("kept", name, hash(str(sorted(world_of(agent).items()))), flush=True)
        if luck.random() < 0.3:
            print("dropping", name, flush=True)
            store.drop([name])
        if luck.random() < 0.2:
            store.collect()
    print("done", flush=True)
"""


def worker(place: Path, seed: int, steps: int) -> subprocess.Popen[str]:
    code = WORK.format(path=[str(Path(__file__).parent), *sys.path], seed=seed, place=str(place), steps=steps)
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)


CHECK = """
import sys
from contextlib import closing
from pathlib import Path
sys.path[:0] = {path!r}
from test_objects import fresh, world_of
from agentdistill.sandbox.snapshots import SnapshotStore

with closing(SnapshotStore(Path({place!r}) / "store")) as store, closing(fresh(Path({place!r}))) as agent:
    for line in sys.stdin:
        name, told = line.split()
        store.restore(agent, name)
        assert str(hash(str(sorted(world_of(agent).items())))) == told, name
"""


def check(place: Path, told: list[str]) -> None:
    """All that was told to be kept, and not to be dropped, can be restored, and the file is sound."""
    kept = {}
    for line in told:
        what, *words = line.split()
        if what == "kept":
            kept[words[0]] = words[1]
        elif what == "dropping":
            kept.pop(words[0], None)
    code = CHECK.format(path=[str(Path(__file__).parent), *sys.path], place=str(place))
    subprocess.run(
        [sys.executable, "-c", code],
        input="".join(f"{name} {told}\n" for name, told in kept.items()),
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    with closing(sqlite3.connect(place / "store" / FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
def test_processes_that_keep_drop_and_sweep_at_once_lose_nothing(tmp_path):
    workers = [worker(tmp_path, seed, 40) for seed in range(4)]
    told = [line for each in workers for line in each.communicate()[0].splitlines()]
    assert told.count("done") == 4
    check(tmp_path, told)


@pytest.mark.slow
def test_a_store_is_sound_whenever_its_processes_are_killed(tmp_path):
    luck = random.Random(7)
    told: list[str] = []
    for turn in range(12):
        workers = [worker(tmp_path, 2 * turn + number, 10_000) for number in range(2)]
        for each in workers:
            assert each.stdout is not None
            told.append(each.stdout.readline())
        time.sleep(luck.random())
        for each in workers:
            each.send_signal(signal.SIGKILL)
            told += each.communicate()[0].splitlines()
    # Of a line that was cut off nothing can be said; a world that may have been dropped need not be there.
    check(tmp_path, [line for line in told if len(line.split()) == (3 if line.startswith("kept") else 2)])


def test_threads_that_keep_drop_and_sweep_at_once_lose_nothing(tmp_path, store):
    kept: dict[str, object] = {}
    wrong: list[Exception] = []

    def work(seed: int) -> None:
        luck = random.Random(seed)
        try:
            with closing(fresh(tmp_path)) as agent:
                for _ in range(12):
                    change(agent, luck)
                    name, world = store.keep(agent, SHELL), world_of(agent)
                    if luck.random() < 0.4:
                        store.drop([name])
                        store.collect()
                    else:
                        kept[name] = world
                    if kept:
                        store.restore(agent, luck.choice(sorted(kept)))
        except Exception as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with closing(fresh(tmp_path)) as agent:
        for name, world in kept.items():
            store.restore(agent, name)
            assert world_of(agent) == world


def test_a_fork_of_the_process_has_connections_of_its_own(tmp_path, agent, store):
    kept = store.keep(agent, SHELL)
    child = os.fork()
    if child == 0:
        os._exit(0 if store.holds(kept) else 1)
    assert os.waitpid(child, 0)[1] == 0
    (agent.root / "f").write_text("x")
    assert store.holds(store.keep(agent, SHELL))


# ---- damage, and other files -----------------------------------------------------------------------------------------


def test_damage_is_found_and_not_restored(tmp_path, agent, store):
    (agent.root / "d").mkdir()
    (agent.root / "d/f").write_bytes(b"right")
    kept = store.keep(agent, SHELL)
    name = tree_objects.content_digest((b"right",))
    file = tmp_path / "store" / FILE
    with closing(fresh(tmp_path)) as fork, closing(sqlite3.connect(file)) as connection:

        def damage(statement: str, *values: object) -> None:
            with connection:
                connection.execute(statement, values)
            with pytest.raises(SnapshotError, match=r"digest|lost|damaged"):
                store.restore(fork, kept)

        for wrong in (b"wrong", b"longer than before", b""):
            damage("UPDATE objects SET content = ? WHERE digest = ?", wrong, name)
        damage("DELETE FROM objects WHERE digest = ?", name)
        damage("UPDATE objects SET content = X'4431' WHERE substr(content, 1, 2) = X'4431'")
        damage("DELETE FROM objects")
        damage("UPDATE worlds SET record = '{}'")


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path):
    for number, content in enumerate((b"no database at all, but a text of more than 100 bytes " * 3, None)):
        folder = tmp_path / str(number)
        folder.mkdir()
        if content is None:
            with closing(sqlite3.connect(folder / FILE)) as connection:
                connection.execute("CREATE TABLE theirs (x)")
        else:
            (folder / FILE).write_bytes(content)
        before = (folder / FILE).read_bytes()
        with pytest.raises(SnapshotError):
            SnapshotStore(folder)
        if content is not None:
            assert (folder / FILE).read_bytes() == before


def test_a_closed_store_says_so(tmp_path, agent, store):
    store.close()
    store.close()
    with pytest.raises(SnapshotError, match="closed"):
        store.keep(agent, SHELL)


# ---- from one machine to another -------------------------------------------------------------------------------------


def test_snapshots_can_be_copied_to_another_store(tmp_path, agent, store):
    kept = []
    for seed in range(3):
        change(agent, random.Random(seed))
        kept.append((store.keep(agent, ShellState("/workspace", (("A", str(seed)),))), world_of(agent)))
    file = tmp_path / "some.snapshots"
    store.export([name for name, _ in kept[1:]], file)
    assert sorted(path.name for path in tmp_path.glob("some.*")) == ["some.snapshots"]
    with pytest.raises(FileExistsError):
        store.export([kept[0][0]], file)
    file.chmod(0o400)
    with closing(SnapshotStore(tmp_path / "other")) as other, closing(fresh(tmp_path)) as fork:
        assert other.load(file) == sorted(name for name, _ in kept[1:])
        assert not other.holds(kept[0][0])
        for name, world in kept[1:]:
            assert other.restore(fork, name).shell == store.world(name).shell
            assert world_of(fork) == world
    assert sorted(path.name for path in tmp_path.glob("some.*")) == ["some.snapshots"]


def test_a_file_that_is_damaged_is_not_loaded_at_all(tmp_path, agent, store):
    (agent.root / "f").write_bytes(b"right")
    kept = store.keep(agent, SHELL)
    flaws = (
        "UPDATE objects SET content = 'wrong' WHERE content = X'7269676874'",
        "DELETE FROM objects WHERE content = X'7269676874'",
        "UPDATE worlds SET record = replace(record, 'workspace', 'elsewhere')",
        "DROP TABLE worlds",
        "PRAGMA user_version = 99",
    )
    for number, flaw in enumerate(flaws):
        file = tmp_path / f"flawed-{number}"
        store.export([kept], file)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            with connection:
                connection.execute(flaw)
        with closing(SnapshotStore(tmp_path / f"other-{number}")) as other:
            with pytest.raises(SnapshotError):
                other.load(file)
            assert not other.holds(kept)
    with closing(SnapshotStore(tmp_path / "other")) as other, pytest.raises(SnapshotError):
        other.load(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_what_is_not_kept_cannot_be_exported(tmp_path, store):
    with pytest.raises(SnapshotError, match="not kept"):
        store.export(["0" * 64], tmp_path / "file")
    assert os.listdir(tmp_path) == ["store"]


# ---- agents that lie -------------------------------------------------------------------------------------------------


class Liar(LocalAgent):
    """Changes replies on their way."""

    lie = staticmethod(lambda do, head, body: (head, body))

    def __call__(self, request: Mapping[str, object], *rest, **more):
        head, body = super().__call__(request, *rest, **more)
        return self.lie(request["do"], head, body)


@pytest.fixture
def liar(tmp_path) -> Iterator[Liar]:
    root = tmp_path / "liar"
    (root / "d").mkdir(parents=True)
    (root / "d/f").write_bytes(b"content")
    (root / "large").write_bytes(os.urandom(9 << 20))
    with closing(Liar(root)) as liar:
        yield liar


def turn(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


LIES = {
    "another tree": lambda do, head, body: ({**head, "tree": bytes(32)} if do == "look" else head, body),
    "a tree that is none": lambda do, head, body: ({**head, "tree": b"x"} if do == "look" else head, body),
    "more than it says": lambda do, head, body: (head, body + b"x"),
    "less than it says": lambda do, head, body: (head, body[:-1]),
    "another content": lambda do, head, body: (head, turn(body, -1)),
    "another size": lambda do, head, body: (head, turn(body, 39)),
    "an enormous size": lambda do, head, body: (head, turn(body, 32)),
    "no counts": lambda do, head, body: ({}, body),
    "wrong counts": lambda do, head, body: ({**head, "count": head.get("count", 0) + 1}, body),
    "texts for counts": lambda do, head, body: ({**head, "count": "many"}, body),
    "contents as structure": lambda do, head, body: ({**head, "structure": head.get("structure", 0) + 1}, body),
    "structure as contents": lambda do, head, body: ({**head, "structure": 0}, body),
    "nothing new": lambda do, head, body: ({**head, "count": 0, "inlined": 0}, b"") if do == "look" else (head, body),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_not_kept(tmp_path, agent, store, liar, lie):
    (agent.root / "f").write_text("an honest one")
    honest, world = store.keep(agent, SHELL), world_of(agent)
    liar.lie = LIES[lie]
    with pytest.raises((SnapshotError, ValueError, KeyError, TypeError)):
        store.keep(liar, SHELL)
    with closing(sqlite3.connect(tmp_path / "store" / FILE)) as connection:
        assert connection.execute("SELECT name FROM worlds").fetchall() == [(honest,)]
    liar.lie = Liar.lie
    store.restore(liar, store.keep(liar, SHELL))
    store.restore(agent, honest)
    assert world_of(agent) == world
