"""Snapshots: exact, equal for equal worlds, durable, and as cheap as the change."""

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.sandbox.shell import ShellState
from agentdistill.sandbox.snapshots import SnapshotStore, shows_mapped_writes

NAMES = [b"a", b"b", b"a.b", b"-rf", b"new\nline", b"\xff\xfe", "ünï".encode(), b".hidden"]
PATHS = [b"/".join(parts) for parts in [(x,) for x in NAMES] + [(x, y) for x in NAMES[:3] for y in NAMES]]
CONTENT = st.sampled_from([b"", b"one", b"two", b"x" * 5000])
ACTS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(PATHS), CONTENT),
    st.tuples(st.just("edit behind the back"), st.sampled_from(PATHS)),
    st.tuples(st.just("delete"), st.sampled_from(PATHS)),
    st.tuples(st.just("rename"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    st.tuples(st.just("chmod"), st.sampled_from(PATHS), st.sampled_from([0o644, 0o755, 0o600, 0o000, 0o4711, 0o2775])),
    st.tuples(st.just("symlink"), st.sampled_from(PATHS), st.sampled_from([b"a", b"/etc/passwd", b"\xff", b"nowhere"])),
    st.tuples(st.just("link"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    st.tuples(st.just("mkdir"), st.sampled_from(PATHS)),
    st.tuples(st.just("fifo"), st.sampled_from(PATHS)),
)


def act(root: bytes, what: str, path: bytes, *rest: object) -> None:
    """Do one thing to the tree, if it can be done."""
    full = os.path.join(root, path)
    try:
        if what == "write":
            if not os.path.lexists(full) or stat.S_ISREG(os.lstat(full).st_mode):
                with open(full, "wb") as file:
                    file.write(rest[0])
        elif what == "edit behind the back":
            before = os.lstat(full)
            if stat.S_ISREG(before.st_mode) and before.st_size:
                with open(full, "rb+") as file:
                    first = file.read(1)
                    file.seek(0)
                    file.write(b"1" if first != b"1" else b"2")
                os.utime(full, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif what == "delete":
            is_folder = os.path.isdir(full) and not os.path.islink(full)
            os.rmdir(full) if is_folder else os.unlink(full)
        elif what == "rename":
            os.rename(full, os.path.join(root, rest[0]))
        elif what == "chmod":
            if not os.path.islink(full):
                os.chmod(full, rest[0] if os.geteuid() == 0 else rest[0] | 0o700)  # the test itself must see it
        elif what == "symlink":
            os.symlink(rest[0], full)
        elif what == "link":
            os.link(full, os.path.join(root, rest[0]), follow_symlinks=False)
        elif what == "mkdir":
            os.mkdir(full)
        elif what == "fifo":
            os.mkfifo(full)
    except OSError:
        pass  # not possible in this tree, as for a program


def walk(root: bytes) -> dict[bytes, tuple]:
    """Everything there is, told independently of the code under test."""
    found: dict[bytes, tuple] = {}
    inodes: dict[int, set[bytes]] = {}
    for folder, folders, files in os.walk(root):
        for name in [b".", *folders, *files] if folder == root else [*folders, *files]:
            full = os.path.join(folder, name)
            info = os.lstat(full)
            path = os.path.relpath(full, root)
            kind = stat.S_IFMT(info.st_mode)
            content = b""
            if stat.S_ISLNK(info.st_mode):
                content = os.readlink(full)
            elif stat.S_ISREG(info.st_mode):
                content = Path(os.fsdecode(full)).read_bytes()
            found[path] = (kind, stat.S_IMODE(info.st_mode), content)
            if kind != stat.S_IFDIR:
                inodes.setdefault(info.st_ino, set()).add(path)
    for group in inodes.values():
        for path in group:
            found[path] += (frozenset(group),)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("snapshots")


def fresh(place: Path) -> Path:
    root = place / f"tree-{time.monotonic_ns()}"
    root.mkdir()
    return root


@settings(max_examples=60)
@given(data=st.data(), steps=st.lists(st.lists(ACTS, min_size=1, max_size=6), min_size=1, max_size=6))
def test_any_world_comes_back_exactly_from_any_other(place, data, steps):
    store = SnapshotStore(place / "store")
    root = fresh(place)
    tree = store.tree(root)
    kept = [(store.keep(tree, ShellState()), walk(os.fsencode(root)))]
    for acts in steps:
        for one in acts:
            act(os.fsencode(root), *one)
        name = store.keep(tree, ShellState())
        kept.append((name, walk(os.fsencode(root))))
    for name, world in kept:
        for other, other_world in kept:
            assert (name == other) == (world == other_world)
    for index in data.draw(st.lists(st.integers(0, len(kept) - 1), min_size=1, max_size=8)):
        name, world = kept[index]
        store.restore(tree, name)
        assert walk(os.fsencode(root)) == world
        assert store.keep(tree, ShellState()) == name


@settings(max_examples=25)
@given(before=st.lists(ACTS, max_size=8), left=st.lists(ACTS, max_size=6), right=st.lists(ACTS, max_size=6))
def test_forks_never_see_each_other(place, before, left, right):
    store = SnapshotStore(place / "store")
    roots = [fresh(place) for _ in range(3)]
    trees = [store.tree(root) for root in roots]
    for one in before:
        act(os.fsencode(roots[0]), *one)
    start = store.keep(trees[0], ShellState())
    origin = walk(os.fsencode(roots[0]))
    for tree in trees[1:]:
        store.restore(tree, start)
    for one in left:
        act(os.fsencode(roots[1]), *one)
    after_left = walk(os.fsencode(roots[1]))
    for one in right:
        act(os.fsencode(roots[2]), *one)
    assert walk(os.fsencode(roots[0])) == origin
    assert walk(os.fsencode(roots[1])) == after_left
    store.restore(trees[2], start)
    assert walk(os.fsencode(roots[2])) == origin


def test_an_edit_of_the_same_size_with_the_time_put_back_is_seen_also_later(sandbox):
    sandbox.exec("echo one > f; touch -d 2020-01-01 f")
    first = sandbox.snapshot()
    time.sleep(0.03)
    assert sandbox.snapshot() == first
    sandbox.exec("echo two > f; touch -d 2020-01-01 f")
    second = sandbox.snapshot()
    assert second != first
    sandbox.restore(first)
    assert sandbox.read_file("f") == b"one\n"


def test_a_write_through_a_memory_map_is_seen(sandbox):
    sandbox.write_file("f", b"one")
    time.sleep(0.03)
    first = sandbox.snapshot()
    code = "import mmap; f = open('f', 'r+b'); m = mmap.mmap(f.fileno(), 3); m[0]; m[:] = b'two'"
    assert sandbox.exec([sandbox.python, "-I", "-c", code]).exit_code == 0
    assert sandbox.snapshot() != first


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no tmpfs to write to")
def test_where_ctime_cannot_be_trusted_every_file_is_read(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/dev/shm")
    assert not shows_mapped_writes(Path("/dev/shm"))
    with BubblewrapBackend() as backend, backend.create() as sandbox:
        test_a_write_through_a_memory_map_is_seen(sandbox)


def test_the_shell_is_part_of_a_world_and_comes_back(sandbox):
    empty = sandbox.snapshot()
    sandbox.exec(["true"])
    sandbox.exec("true")
    assert sandbox.snapshot() == empty
    sandbox.exec("mkdir d; cd d; export A='x\ny'")
    moved = sandbox.snapshot()
    sandbox.exec("cd ..; unset A PATH; export B=1")
    assert sandbox.snapshot() != moved
    sandbox.restore(moved)
    assert sandbox.exec('pwd; echo "$A$B"').output == "/workspace/d\nx\ny\n"
    assert sandbox.snapshot() == moved
    sandbox.restore(empty)
    assert sandbox.exec("pwd; ls -A").output == "/workspace\n"


def test_equal_worlds_have_equal_names_whoever_made_them(backend, sandbox):
    sandbox.write_file("a/f", b"x")
    with backend.create() as other:
        other.exec("mkdir a; cd a; printf x > f; cd ..; touch -d 2001-01-01 a/f")
        assert other.snapshot() == sandbox.snapshot()


def test_snapshots_outlive_the_backend_and_workspaces_do_not(tmp_path):
    with BubblewrapBackend(tmp_path) as backend:
        sandbox = backend.create()
        sandbox.exec("mkdir -p d/empty; echo x > d/f; export A=1")
        kept = sandbox.snapshot()
    with BubblewrapBackend(tmp_path) as backend, backend.create(kept) as sandbox:
        assert sandbox.exec("echo $A; ls d").output == "1\nempty\nf\n"


def test_closed_files_and_directories_are_kept_as_they_are(backend, sandbox):
    sandbox.exec("mkdir -p d/e; echo x > d/e/f; chmod 0 d/e/f d/e d; chmod 500 .")
    kept = sandbox.snapshot()
    assert sandbox.snapshot() == kept
    with backend.create(kept) as fork:
        assert fork.snapshot() == kept
        fork.exec("chmod 755 .; rmdir d; chmod -R 700 d; echo y > d/e/f; rm -r d")
        fork.restore(kept)
        assert fork.exec("stat -c %a . d; chmod 700 d; stat -c %a d/e").output == "500\n0\n700\n0\n".replace(
            "700\n", ""
        )


def test_a_snapshot_that_is_not_kept_is_a_typed_error(backend, sandbox):
    sandbox.write_file("only here", os.urandom(8))
    kept = sandbox.snapshot()
    backend.drop([kept, kept, "unknown", "../../lock"])
    for name in (kept, "unknown", "../../lock", ""):
        with pytest.raises(SnapshotError):
            sandbox.restore(name)
        with pytest.raises(SnapshotError):
            backend.create(name)
    assert sandbox.snapshot() == kept
    sandbox.restore(kept)


def test_damage_in_the_store_is_found_not_restored(tmp_path):
    with BubblewrapBackend(tmp_path) as backend, backend.create() as sandbox:
        sandbox.write_file("f", b"right")
        kept = sandbox.snapshot()
        digest = hashlib.sha256(b"right").hexdigest()
        blob = tmp_path / "snapshots/blobs" / digest[:2] / digest[2:]
        blob.write_bytes(b"wrong")
        with pytest.raises(SnapshotError, match="digest"):
            backend.create(kept)
        blob.unlink()
        with pytest.raises(SnapshotError, match="lost"):
            backend.create(kept)
        manifest = tmp_path / "snapshots/manifests" / kept
        manifest.write_text("{}")
        with pytest.raises(SnapshotError, match="damaged"):
            backend.create(kept)


def test_equal_files_are_kept_once_and_swept_when_nothing_needs_them(place):
    store = SnapshotStore(place / "swept")
    root = fresh(place)
    tree = store.tree(root)
    for name in ("a", "b"):
        (root / name).write_bytes(b"equal")
    first = store.keep(tree, ShellState())
    (root / "b").write_bytes(b"large" * 1_000_000)
    time.sleep(0.03)
    second = store.keep(tree, ShellState())
    blobs = place / "swept/blobs"
    assert len([path for path in blobs.rglob("*") if path.is_file()]) == 2
    store.drop([second])
    assert store.collect() == 1
    assert store.keep(tree, ShellState()) == second, "a file known from the last look is kept again"
    store.drop([first])
    assert store.collect() == 0
    store.restore(store.tree(fresh(place)), second)


def test_a_snapshot_reads_only_what_changed(place, monkeypatch):
    store = SnapshotStore(place / "cheap")
    root = fresh(place)
    for number in range(50):
        (root / f"f{number}").write_text(str(number))
    tree = store.tree(root)
    time.sleep(0.03)
    store.keep(tree, ShellState())
    read = []
    put = store._put
    monkeypatch.setattr(store, "_put", lambda path: read.append(path) or put(path))
    store.keep(tree, ShellState())
    assert read == []
    (root / "f7").write_text("x")
    store.keep(tree, ShellState())
    assert read == [str(root / "f7")]


def test_a_file_that_was_just_written_is_read_again_because_its_ctime_may_not_tell(place, monkeypatch):
    store = SnapshotStore(place / "unsettled")
    root = fresh(place)
    tree = store.tree(root)
    (root / "f").write_text("x")
    store.keep(tree, ShellState())
    assert tree.memory.seen == {}
    time.sleep(0.03)
    store.keep(tree, ShellState())
    assert list(tree.memory.seen) == ["f"]


def test_hard_links_are_joined_and_split_again(place):
    store = SnapshotStore(place / "store")
    root = fresh(place)
    tree = store.tree(root)
    for name in ("a", "b", "c"):
        (root / name).write_text("equal")
    apart = store.keep(tree, ShellState())
    for name in ("b", "c"):
        (root / name).unlink()
        (root / name).hardlink_to(root / "a")
    joined = store.keep(tree, ShellState())
    assert joined != apart
    for name, inodes in ((apart, 3), (joined, 1), (apart, 3)):
        store.restore(tree, name)
        assert len({(root / file).stat().st_ino for file in ("a", "b", "c")}) == inodes
    (root / "a").write_text("other")
    assert (root / "b").read_text() == "equal"
