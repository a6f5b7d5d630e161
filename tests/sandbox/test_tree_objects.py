"""The canonical bytes of trees, and what differs between two of them, on data alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import NAMES

from agentdistill.sandbox.difference import difference
from agentdistill.sandbox.inside import tree_objects as objects

DIGESTS = st.binary(min_size=32, max_size=32)
MODES = st.integers(0, 0o7777)
VALUES = st.one_of(
    st.tuples(st.sampled_from([objects.FILE, objects.DIRECTORY]), MODES, DIGESTS),
    st.tuples(st.just(objects.SYMLINK), st.just(0), st.sampled_from([b"a", b"/x/../y", b"\xff" * 4000])),
    st.tuples(st.sampled_from([objects.FIFO, objects.SOCKET, objects.WHITEOUT]), MODES, st.just(b"")),
)
DIRECTORIES = st.dictionaries(st.sampled_from(NAMES), VALUES).map(
    lambda found: [(name, *value) for name, value in sorted(found.items())]
)


@given(entries=DIRECTORIES, flaw=st.tuples(st.floats(0, 0.999), st.integers(0, 255)), cut=st.floats(0, 1))
def test_a_directory_has_one_form_only(entries, flaw, cut):
    content = objects.encode_directory(entries)
    assert objects.decode_directory(content) == entries
    at = int(flaw[0] * len(content))
    changed = content[:at] + bytes([flaw[1]]) + content[at + 1 :]
    for other in (changed, content[: int(cut * len(content))], content + b"\0"):
        try:
            read = objects.decode_directory(other)
        except ValueError:
            continue
        assert objects.encode_directory(read) == other


@given(
    names=st.lists(st.sampled_from(NAMES), unique=True, min_size=4), at=st.floats(0, 0.999), byte=st.integers(0, 255)
)
def test_links_have_one_form_only(names, at, byte):
    groups = [names[:2], names[2:]]
    content = objects.encode_links(groups)
    assert content == objects.encode_links([reversed(group) for group in reversed(groups)])
    assert {frozenset(group) for group in objects.decode_links(content)} == {frozenset(group) for group in groups}
    place = int(at * len(content))
    changed = content[:place] + bytes([byte]) + content[place + 1 :]
    try:
        read = objects.decode_links(changed)
    except ValueError:
        return
    assert objects.encode_links(read) == changed


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name):
    entry = (name, objects.FIFO, 0o600, b"")
    for entries in ([entry], sorted([entry, (b"b", objects.FIFO, 0o600, b"")])):
        with pytest.raises(ValueError, match="directory object"):
            objects.decode_directory(objects.encode_directory(entries))


@pytest.mark.parametrize(
    "path", [b"", b"/etc/passwd", b"../x", b"a/../../x", b"a//b", b"a/", b"./a", b"a\0", b"n" * 3001]
)
def test_an_operation_that_leaves_the_workspace_is_refused(path):
    content = objects.encode_operations([(objects.REMOVE, path, 0, 0, b"")])
    with pytest.raises(ValueError, match="leaves the root"):
        list(objects.decode_operations(content))
    if path:
        with pytest.raises(ValueError, match="no file can have"):
            objects.decode_links(objects.encode_links([[b"a", path]]))


# ---- differences, on data alone --------------------------------------------------------------------------------------


class Model:
    """A tree as a dict, with the permissions that its owner needs: path → kind, mode, value; files by number."""

    def __init__(self) -> None:
        self.mode = 0o755
        self.things: dict[bytes, list] = {}
        self.next = 0

    def digest_into(self, kept: dict[bytes, bytes]) -> bytes:
        def put(content: bytes) -> bytes:
            kept[objects.digest(content)] = content
            return objects.digest(content)

        def folder(path: bytes) -> bytes:
            entries = []
            for each, (kind, mode, value, _) in sorted(self.things.items()):
                above, _, name = each.rpartition(b"/")
                if above == path:
                    entries.append((name, kind, mode, folder(each) if kind == objects.DIRECTORY else value))
            return put(objects.encode_directory(sorted(entries)))

        numbers: dict[int, list[bytes]] = {}
        for path, (_, _, _, number) in self.things.items():
            numbers.setdefault(number, []).append(path)
        groups = [paths for paths in numbers.values() if len(paths) > 1]
        links = put(objects.encode_links(groups)) if groups else objects.NO_LINKS
        return put(objects.encode_tree(self.mode, folder(b""), links))

    def add(self, path: bytes, kind: int, mode: int, value: bytes) -> None:
        self.next += 1
        self.things[path] = [kind, mode, value, self.next]

    def may(self, path: bytes, *, change: bool) -> None:
        """Fail unless the owner may reach a path and, to make or remove it, write to the directory it is in."""
        above = path.rpartition(b"/")[0] if b"/" in path else b""
        assert above == b"" or self.things[above][0] == objects.DIRECTORY
        if change:
            assert self.mode_of(above) & 0o300 == 0o300
        while above:
            above = above.rpartition(b"/")[0]
            assert self.mode_of(above) & 0o100

    def mode_of(self, folder: bytes) -> int:
        return self.mode if folder == b"" else self.things[folder][1]

    def do(self, what: int, path: bytes, mode: int, value: bytes) -> None:
        if path != b".":
            self.may(path, change=what != objects.CHMOD)
        if what == objects.REMOVE:
            self.things = {
                each: t for each, t in self.things.items() if each != path and not each.startswith(path + b"/")
            }
        elif what == objects.CHMOD and path == b".":
            self.mode = mode
        elif what == objects.CHMOD:
            number = self.things[path][3]
            for thing in self.things.values():
                if thing[3] == number:
                    thing[1] = mode
        else:
            assert path not in self.things
            if what == objects.MAKE_DIRECTORY:
                self.add(path, objects.DIRECTORY, 0o700, b"")
            elif what == objects.WRITE:
                self.add(path, objects.FILE, mode, value)
            elif what == objects.MAKE_SYMLINK:
                self.add(path, objects.SYMLINK, 0, value)
            elif what == objects.MAKE_SPECIAL:
                self.add(path, value[0], mode, b"")
            elif what == objects.MAKE_LINK:
                assert self.things[value][0] != objects.DIRECTORY
                self.things[path] = self.things[value]


@st.composite
def models(draw) -> Model:
    model = Model()
    model.mode = draw(MODES)
    for name in draw(st.lists(st.sampled_from([b"a", b"b", b"a.b", b"c"]), max_size=14)):
        folders = [path for path, thing in model.things.items() if thing[0] == objects.DIRECTORY]
        above = draw(st.sampled_from([b"", *folders]))
        path = above + b"/" + name if above else name
        files = [each for each, thing in model.things.items() if thing[0] != objects.DIRECTORY]
        if path in model.things:
            continue
        if files and draw(st.booleans()):
            model.things[path] = model.things[draw(st.sampled_from(files))]
        else:
            kind, mode, value = draw(VALUES)
            model.add(path, kind, mode, b"" if kind == objects.DIRECTORY else value)
    return model


@given(have=models(), want=models())
def test_operations_make_any_tree_into_any_other_for_an_owner_without_privileges(have, want):
    kept: dict[bytes, bytes] = {}
    present, target = have.digest_into(kept), want.digest_into(kept)
    for what, path, mode, _, value in difference(present, target, kept.__getitem__):
        have.do(what, path, mode, value)
    assert have.digest_into(kept) == target


@given(have=models())
def test_equal_trees_need_no_operation(have):
    kept: dict[bytes, bytes] = {}
    tree = have.digest_into(kept)
    assert difference(tree, tree, kept.__getitem__) == []
