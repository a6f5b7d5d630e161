"""A workspace that is looked at and made over: exactly, whoever wrote it, and at the cost of what changed."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acts import act, walk, write_through_a_map
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import ACTS, LocalAgent

from agentdistill.sandbox.inside import tree_objects as objects
from agentdistill.sandbox.inside.folders import UNWATCHED
from agentdistill.sandbox.shell import ShellState
from agentdistill.sandbox.snapshots import SnapshotStore

ROOMS = [("/dev/shm", 0), (tempfile.gettempdir(), 0), ("/dev/shm", UNWATCHED), ("/dev/shm", 100_000)]
ROOM_IDS = ["in memory", "on disk", "unwatched", "watched from some size on"]
SHELL = ShellState()
SOME = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
FEW = settings(SOME, max_examples=20)


@pytest.fixture(params=ROOMS, ids=ROOM_IDS)
def place(request, monkeypatch) -> Iterator[Path]:
    room, unwatched = request.param
    if not os.access(room, os.W_OK):
        pytest.skip(f"{room} cannot be written to")
    monkeypatch.setattr(LocalAgent, "unwatched", unwatched)
    folder = Path(tempfile.mkdtemp(dir=room, prefix="trees-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def agent(place) -> Iterator[LocalAgent]:
    agent = fresh(place)
    yield agent
    agent.close()


@pytest.fixture
def store(tmp_path) -> Iterator[SnapshotStore]:
    store = SnapshotStore(tmp_path)
    yield store
    store.close()


def fresh(place: Path) -> LocalAgent:
    root = Path(tempfile.mkdtemp(dir=place))
    root.chmod(0o755)
    return LocalAgent(root)


def world_of(agent: LocalAgent):
    return walk(os.fsencode(agent.root))


def run_acts(agent: LocalAgent, acts) -> None:
    for one in acts:
        act(os.fsencode(agent.root), *one)


# ---- any world -------------------------------------------------------------------------------------------------------


@SOME
@given(
    data=st.data(),
    steps=st.lists(st.one_of(st.lists(ACTS, min_size=1, max_size=1), st.lists(ACTS, max_size=8)), max_size=8),
)
def test_any_world_comes_back_exactly_from_any_other(place, store, data, steps):
    agent = fresh(place)
    kept = [(store.keep(agent, SHELL), world_of(agent))]
    for acts in steps:
        run_acts(agent, acts)
        kept.append((store.keep(agent, SHELL), world_of(agent)))
    for name, world in kept:
        for other, other_world in kept:
            assert (name == other) == (world == other_world)
    for name, world in data.draw(st.lists(st.sampled_from(kept), min_size=1, max_size=6)):
        run_acts(agent, data.draw(st.lists(ACTS, max_size=3)))
        store.restore(agent, name)
        assert world_of(agent) == world
        assert store.keep(agent, SHELL) == name
    agent.close()
    shutil.rmtree(agent.root)


@FEW
@given(before=st.lists(ACTS, max_size=8), left=st.lists(ACTS, max_size=6), right=st.lists(ACTS, max_size=6))
def test_forks_never_see_each_other(place, store, before, left, right):
    origin, one, other = (fresh(place) for _ in range(3))
    run_acts(origin, before)
    start, world = store.keep(origin, SHELL), world_of(origin)
    for fork in (one, other):
        store.restore(fork, start)
        assert world_of(fork) == world
    run_acts(one, left)
    after = world_of(one)
    run_acts(other, right)
    assert world_of(origin) == world
    assert world_of(one) == after
    store.restore(other, start)
    assert world_of(other) == world
    for agent in (origin, one, other):
        agent.close()
        shutil.rmtree(agent.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to act as")
@FEW
@given(steps=st.lists(st.lists(ACTS, max_size=8), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_closed_files_and_directories_come_back_also_without_privileges(place, tmp_path, steps, seed):
    def body() -> None:
        store = SnapshotStore(place / f"store-{os.getpid()}")
        agent = fresh(place)
        kept = []
        for acts in steps:
            run_acts(agent, acts)
            if seed % 2:  # closed to its owner, whatever it is
                for name in os.listdir(agent.root):
                    if not os.path.islink(agent.root / name):
                        os.chmod(agent.root / name, [0o000, 0o100, 0o400, 0o200][seed % 4])
            kept.append((store.keep(agent, SHELL), modes(agent)))
        for name, seen in [*kept, *reversed(kept)]:
            store.restore(agent, name)
            assert modes(agent) == seen
            assert store.keep(agent, SHELL) == name

    def modes(agent: LocalAgent) -> dict[str, int]:
        return {name: os.lstat(agent.root / name).st_mode for name in os.listdir(agent.root)}

    place.chmod(0o777)
    as_another_user(body)


def as_another_user(body: Callable[[], None]) -> None:
    """Run it in a fork of this process that has no privileges."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(54321)
            os.setuid(54321)
            body()
            status = 0
        except BaseException:  # noqa: BLE001 - shown, and then this process must end
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


# ---- what a look costs, and what it may not miss ---------------------------------------------------------------------

LISTENING: list[set[str]] = []


def note(event: str, arguments: tuple) -> None:
    if LISTENING and event in ("open", "os.scandir") and isinstance(arguments[0], bytes):
        LISTENING[-1].add(os.fsdecode(arguments[0]))


sys.addaudithook(note)


def opened_by(ask: Callable[[], object], agent: LocalAgent) -> set[str]:
    """The files that were read and the directories that were listed meanwhile."""
    LISTENING.append(set())
    try:
        ask()
    finally:
        opened = LISTENING.pop()
    return {os.path.relpath(path, agent.root) for path in opened}


def grow(agent: LocalAgent) -> None:
    for number in range(50):
        folder = agent.root / f"d{number % 5}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_text(str(number))


WATCHED = pytest.mark.parametrize("place", [ROOMS[at] for at in (0, 1, 3)], indirect=True)


@WATCHED
def test_a_look_opens_only_what_changed_and_only_that_is_sent(agent, store):
    grow(agent)
    first = store.keep(agent, SHELL)
    if agent.unwatched:
        store.keep(agent, SHELL)  # now that it is known how large it is
    assert opened_by(lambda: store.keep(agent, SHELL), agent) == set()
    (agent.root / "d1/f6").write_text("changed")
    agent.received = 0
    assert opened_by(lambda: store.keep(agent, SHELL), agent) == {"d1", "d1/f6"}
    assert agent.received < 1500
    agent.sent = 0
    assert opened_by(lambda: store.restore(agent, first), agent) == {"d1", "d1/f6"}
    assert agent.sent < 200
    assert opened_by(lambda: store.keep(agent, SHELL), agent) == set()


@WATCHED
def test_what_a_restore_wrote_is_not_read_again(place, agent, store):
    grow(agent)
    kept = store.keep(agent, SHELL)
    fork = fresh(place)
    store.restore(fork, kept)
    assert opened_by(lambda: store.keep(fork, SHELL), fork) == set()
    fork.close()


def test_more_reports_than_the_kernel_remembers_hide_nothing(agent, store):
    grow(agent)
    store.keep(agent, SHELL)
    with open(agent.root / "d0/f0", "ab", 0) as one, open(agent.root / "d1/f1", "ab", 0) as two:
        for _ in range(10_000):
            one.write(b"")
            one.write(b"1")
            two.write(b"2")
    write_through_a_map(os.fsencode(agent.root / "d2/f7"))
    kept, world = store.keep(agent, SHELL), world_of(agent)
    (agent.root / "d2/f7").unlink()
    store.restore(agent, kept)
    assert world_of(agent) == world


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user, whose share of the kernel's memory can be used up")
def test_where_the_kernel_reports_nothing_every_file_is_read(place):
    def body() -> None:
        from agentdistill.sandbox.inside.watches import Watches

        with pytest.raises(OSError, match="inotify"):
            list(iter(Watches, None))
        store, agent = SnapshotStore(place / "store"), fresh(place)
        grow(agent)
        first, world = store.keep(agent, SHELL), world_of(agent)
        write_through_a_map(os.fsencode(agent.root / "d2/f7"))
        second, other = store.keep(agent, SHELL), world_of(agent)
        assert first != second
        for name, expected in ((first, world), (second, other), (first, world)):
            store.restore(agent, name)
            assert world_of(agent) == expected

    place.chmod(0o777)
    as_another_user(body)


WRITER = """
import mmap, signal, sys
file = open(sys.argv[1], "r+b")
mapped = mmap.mmap(file.fileno(), 3)
file.close()
mapped[0]
print("ready", flush=True)
for value in sys.stdin:
    mapped[:] = value.strip().encode()
    print("written", flush=True)
"""


def test_what_a_living_process_writes_through_its_map_is_seen_at_every_look(agent, store):
    grow(agent)
    (agent.root / "d0/f0").write_bytes(b"one")
    worlds = {store.keep(agent, SHELL)}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, agent.root / "d0/f0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        for value in ("two", "six", "ten"):
            writer.stdin.write(value + "\n")
            writer.stdin.flush()
            writer.stdout.readline()
            writer.send_signal(signal.SIGSTOP)
            agent.living = [writer.pid]
            worlds.add(store.keep(agent, SHELL))
            writer.send_signal(signal.SIGCONT)
        writer.stdin.write("end\n")
        writer.stdin.flush()
        writer.stdout.readline()
        writer.kill()
    agent.living = []
    last = store.keep(agent, SHELL)
    assert len(worlds | {last}) == 5
    (agent.root / "d0/f0").unlink()
    store.restore(agent, last)
    assert (agent.root / "d0/f0").read_bytes() == b"end"


def test_a_file_whose_process_lives_is_sent_with_the_look(agent, store):
    (agent.root / "large").write_bytes(os.urandom(9 << 20))
    agent.living = [os.getpid()]
    store.keep(agent, SHELL)
    assert [head["do"] for head in agent.asked] == ["look"]
    (agent.root / "large").write_bytes(os.urandom(9 << 20))
    agent.living = []
    store.keep(agent, SHELL)
    assert [head["do"] for head in agent.asked] == ["look", "look", "send"]


# ---- hostile workspaces ----------------------------------------------------------------------------------------------


def test_what_lies_too_deep_is_removed_and_the_rest_is_kept(agent, store):
    (agent.root / "f").write_text("x")
    here = os.getcwd()
    try:
        os.chdir(agent.root)
        for _ in range(40):
            os.mkdir("n" * 200)
            os.chdir("n" * 200)
    finally:
        os.chdir(here)
    kept = store.keep(agent, SHELL)
    assert max(len(path) for path in world_of(agent)) <= objects.LONGEST_PATH
    (agent.root / "f").unlink()
    store.restore(agent, kept)
    assert (agent.root / "f").read_text() == "x"
    assert len(world_of(agent)) == 2 + 14


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_are_removed_and_named(agent, store):
    os.mkdir(agent.root / "d")
    os.mknod(agent.root / "d/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    store.keep(agent, SHELL)
    assert os.listdir(agent.root / "d") == []
    request = {"do": "look", "offer": "nothing", "inline": 0, "held": b"", "anew": False}
    os.mknod(agent.root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    assert agent(request)[0]["removed"] == [b"zero"]


def test_directories_deeper_than_python_recurses_are_kept(agent, store):
    path = os.fspath(agent.root)
    for _ in range(1100):
        path += "/d"
        os.mkdir(path)
    with open(f"{path}/f", "w") as file:
        file.write("x")
    kept = store.keep(agent, SHELL)
    subprocess.run(["rm", "-r", agent.root / "d"], check=True)
    store.restore(agent, kept)
    with open(f"{path}/f") as file:
        assert file.read() == "x"
    assert store.keep(agent, SHELL) == kept
    subprocess.run(["rm", "-r", agent.root / "d"], check=True)


def test_a_workspace_that_is_a_link_is_no_workspace(place, tmp_path):
    (place / "link").symlink_to(tmp_path)
    agent = LocalAgent(place / "link")
    with pytest.raises(ValueError, match="not a directory"):
        agent({"do": "look", "offer": "nothing", "inline": 0, "held": b"", "anew": False})


def test_holes_stay_holes_and_a_change_in_a_large_file_costs_a_piece(place, agent, store, tmp_path):
    with open(agent.root / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(40 << 20)
        file.write(os.urandom(1000))
    (agent.root / "log").write_bytes(os.urandom(8 << 20))
    (agent.root / "sparse").chmod(0o444)
    kept = store.keep(agent, SHELL)
    with open(agent.root / "log", "ab") as file:
        file.write(b"one line more")
    store.keep(agent, SHELL)
    store.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10 << 20
    store = SnapshotStore(tmp_path)
    fork = fresh(place)
    store.restore(fork, kept)
    assert world_of(fork)[b"sparse"][:3] == (stat.S_IFREG, 0o444, (agent.root / "sparse").read_bytes())
    assert os.lstat(fork.root / "sparse").st_blocks * 512 < 2 << 20
    fork.close()


def test_a_full_workspace_is_made_over_since_what_goes_is_removed_first(tmp_path, store):
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs to mount a filesystem of its own")
    room = tmp_path / "room"
    room.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", room], check=False).returncode:
        pytest.skip("may not mount")
    try:
        agent = LocalAgent(room)
        (room / "z").write_bytes(os.urandom(900_000))
        first = store.keep(agent, SHELL)
        (room / "z").unlink()
        (room / "a").write_bytes(os.urandom(900_000))
        second = store.keep(agent, SHELL)
        for name in (first, second, first):
            store.restore(agent, name)
        agent.close()
    finally:
        subprocess.run(["umount", "-l", room], check=True)
