"""Sandboxes that are root of their container: what they may, and that all of their file system comes back."""

import json
import shutil
import subprocess
from pathlib import Path

import acts
import pytest
import whole
from engines import LIMITS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from images import PROGRAMS, image_of
from worlds import A_PATH, ACTS

from agentdistill.errors import SandboxError, SnapshotError, UsageError
from agentdistill.sandbox.docker import DockerBackend
from agentdistill.sandbox.docker.container import CAPABILITIES
from agentdistill.sandbox.worlds import World

FILES = {name: Path(module.__file__).read_bytes() for name, module in (("acts.py", acts), ("whole.py", whole))}
NUMBER = st.integers(0, 70_000)
ROOTS = st.one_of(
    ACTS,
    st.tuples(st.just("chown"), A_PATH, NUMBER, NUMBER),
    st.tuples(st.sampled_from(["chown image", "remove image", "move image", "link image"]), A_PATH, NUMBER, NUMBER),
    st.tuples(st.sampled_from(["write to image", "hosts", "remove all"]), A_PATH, NUMBER, NUMBER),
)
PLACED = st.tuples(st.sampled_from(whole.PLACES), ROOTS).map(lambda both: (both[0], *both[1]))
FEW = settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink what takes seconds would take an hour
)
CAPABILITY_BITS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7}


@pytest.fixture(scope="module")
def backend(image):
    with DockerBackend(limits=LIMITS, image=image, root=True) as backend:
        yield backend


def do(sandbox, what: list) -> str:
    """Let root do something, and say what is there then."""
    listed = json.dumps([[place, act, path.hex(), *map(encoded, rest)] for place, act, path, *rest in what])
    files = {**FILES, "what.json": listed.encode()}
    done = sandbox.exec([sandbox.python, "-I", "-B", "/run/files/whole.py", "/run/files/what.json"], files=files)
    assert done.exit_code == 0, done.output
    return done.output


def encoded(value):
    return value.hex() if isinstance(value, bytes) else value


# ---- restoring -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
@FEW
@given(data=st.data(), steps=st.lists(st.lists(PLACED, max_size=6), min_size=1, max_size=4))
def test_whatever_root_does_to_its_file_system_any_state_of_it_comes_back_exactly(backend, data, steps):
    with backend.create() as sandbox:
        kept = []
        for step in steps:
            said = do(sandbox, step)
            kept.append((sandbox.snapshot(), said))
        assert len({name for name, _ in kept}) == len({said for _, said in kept})
        for name, said in data.draw(st.lists(st.sampled_from(kept), min_size=1, max_size=3)):
            do(sandbox, data.draw(st.lists(PLACED, max_size=3)))
            sandbox.restore(name)
            assert do(sandbox, []) == said
            assert sandbox.snapshot() == name
        name, said = data.draw(st.sampled_from(kept))
        with backend.create(name) as fork:
            assert do(fork, []) == said


BUSY = """
set -e
mkdir -p /usr/local/bin /var/lib/shop /opt/shop
printf '#!/bin/sh\\necho sold\\n' > /usr/local/bin/sell && chmod 4750 /usr/local/bin/sell
ln -s /usr/local/bin/sell /opt/shop/sell && chown -h 7:8 /opt/shop/sell
chown -R 33:44 /var/lib/shop && chmod 2775 /var/lib/shop
rm /bin/tty && mv /bin/yes /bin/no && ln /bin/no /bin/never
echo 'keeper:x:900:900::/:/bin/sh' >> /etc/passwd
echo '10.1.1.1 shop' >> /etc/hosts
echo scrap > /tmp/scrap && mkfifo /tmp/pipe
"""
SHOWN = (
    "stat -c '%n %F %a %u %g %h' /usr/local/bin/sell /opt/shop/sell /var/lib/shop /bin/no /bin/never /tmp/*; "
    "ls /bin | sort; cat /etc/passwd /etc/hosts; readlink /opt/shop/sell; pwd; echo $SHOP"
)


def test_a_snapshot_holds_what_root_did_anywhere_with_owners_and_modes(backend):
    with backend.create() as sandbox:
        fresh = sandbox.snapshot()
        assert sandbox.exec(f"{BUSY}\nexport SHOP=open; cd /opt/shop").exit_code == 0
        busy, shown = sandbox.snapshot(), sandbox.exec(SHOWN).output
        assert "sell regular file 4750 0 0" in shown
        assert "/opt/shop/sell symbolic link 777 7 8" in shown
        assert "/var/lib/shop directory 2775 33 44" in shown
        with backend.create(busy) as fork:
            assert fork.exec(SHOWN).output == shown
            assert fork.snapshot() == busy
            fork.restore(fresh)
            assert fork.exec("cat /etc/hosts; ls /bin/yes /bin/tty /opt/shop").output == sandbox.exec(
                "head -n -1 /etc/hosts; ls /opt/none; echo /bin/tty; echo /bin/yes"
            ).output.replace("/opt/none", "/opt/shop")
            assert fork.snapshot() == fresh


def test_a_fresh_sandbox_is_the_image_and_a_file_put_back_as_it_was_makes_it_so_again(backend):
    with backend.create() as sandbox, backend.create() as other:
        fresh = sandbox.snapshot()
        assert other.snapshot() == fresh
        assert sandbox.exec("cp -p /bin/wc /tmp/wc && rm /bin/wc").exit_code == 0
        assert sandbox.snapshot() != fresh
        assert sandbox.exec("mv /tmp/wc /bin/wc").exit_code == 0
        assert sandbox.snapshot() == fresh


def test_a_restore_goes_on_in_a_new_container_where_only_the_image_has_what_is_needed(backend):
    with backend.create() as sandbox:
        fresh = sandbox.snapshot()
        sandbox.exec("echo no > /bin/wc; hostname > /tmp/h")
        sandbox.restore(fresh)
        assert sandbox.exec("echo one two | wc -w").output.strip() == "2"


def test_a_snapshot_takes_little_room_and_an_exported_one_is_restored_elsewhere(backend, image, tmp_path):
    with DockerBackend(tmp_path / "here", LIMITS, image=image, root=True) as here, here.create() as sandbox:
        sandbox.exec(BUSY)
        name, shown = sandbox.snapshot(), sandbox.exec(SHOWN).output
        store = here._open()[0]
        store.collect()
        store.export([name], tmp_path / "kept")
        assert (tmp_path / "kept").stat().st_size < 2 << 20
    with DockerBackend(tmp_path / "there", LIMITS, image=image, root=True) as there:
        there.create().close()
        assert there._open()[0].load(tmp_path / "kept") == [name]
        with there.create(name) as sandbox:
            assert sandbox.exec(SHOWN).output == shown


def test_snapshots_of_other_images_and_of_workspaces_alone_are_refused(client, backend, image, tmp_path):
    other = image_of(client, PROGRAMS, extra={"etc/other": b"other"})
    with DockerBackend(tmp_path, LIMITS, root=True) as both:
        first, second = (both.world(World(image=name)) for name in (image, other))
        with first.create() as here, second.create() as there, pytest.raises(SnapshotError, match="another image"):
            there.restore(here.snapshot())
    with DockerBackend(tmp_path, LIMITS, image=image) as plain, plain.create() as sandbox:
        workspace = sandbox.snapshot()
    with (
        DockerBackend(tmp_path, LIMITS, image=image, root=True) as again,
        again.create() as sandbox,
        pytest.raises(SnapshotError, match="whole file system"),
    ):
        sandbox.restore(workspace)


def test_processes_that_live_on_are_held_still_and_files_they_map_are_kept_as_they_are(image):
    code = (
        "import mmap, time\nf = open('/etc/mapped', 'w+b')\nf.write(bytes(4096)); f.flush()\n"
        "m = mmap.mmap(f.fileno(), 4096)\nm[0]\nopen('/etc/ready', 'w').close()\n"
        "n = 0\nwhile True:\n    n += 1\n    m[0] = n % 251\n    m[1] = n % 251\n"
    )
    keeps = {"background": "keep", "on_live_processes": "accept"}
    with DockerBackend(limits=LIMITS, image=image, root=True, **keeps) as backend, backend.create() as sandbox:
        assert sandbox.exec(f'{sandbox.python} -c "{code}" & until [ -e /etc/ready ]; do :; done').exit_code == 0
        names = []
        for _ in range(3):
            names.append(sandbox.snapshot())
            goes_on = "cp /etc/mapped /dev/shm/before; while cmp -s /etc/mapped /dev/shm/before; do :; done"
            assert sandbox.exec(goes_on).exit_code == 0
        assert len(set(names)) == 3
        with backend.create() as other:
            for name in names:
                other.restore(name)
                assert other.exec("wc -c </etc/mapped").output.strip() == "4096"


# ---- what root may -------------------------------------------------------------------------------------------------


def test_root_has_the_capabilities_that_are_listed_and_no_way_to_more(backend):
    assert CAPABILITY_BITS.keys() == set(CAPABILITIES)
    mask = sum(1 << bit for bit in CAPABILITY_BITS.values())
    with backend.create() as sandbox:
        status = sandbox.exec("cat /proc/self/status; id -u").output
        held = {line.split()[0][:-1]: line.split()[1] for line in status.splitlines() if len(line.split()) > 1}
        assert {int(held[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {mask}
        assert int(held["CapInh"], 16) == int(held["CapAmb"], 16) == 0
        assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
        assert status.endswith("\n0\n")
        for line in ("mount -t tmpfs x /mnt", "chroot / true", "mknod /tmp/x c 1 3", "unshare -r true", "hostname x"):
            assert sandbox.exec(f"mkdir -p /mnt; {line}").exit_code != 0, line
        assert sandbox.exec("kill -9 1; cat /proc/1/environ /proc/1/maps; echo $?").output.endswith("1\n")
        assert sandbox.exec("echo still here").output == "still here\n"


def test_dev_is_put_back_after_each_command(backend):
    with backend.create() as sandbox:
        before = sandbox.exec("ls -la /dev | tail -n +4").output
        sandbox.exec(
            "rm -f /dev/null /dev/fd; echo x > /dev/null; mkdir /dev/more; chmod 600 /dev/zero; chmod 777 /dev"
        )
        assert sandbox.exec("ls -la /dev | tail -n +4").output == before
        assert sandbox.exec("cat /dev/null && echo y > /dev/null && stat -c %a /dev").output == "755\n"


def test_memory_that_another_user_left_behind_is_gone_after_the_command(backend):
    code = "import ctypes, os\nos.setuid(1234)\nassert ctypes.CDLL(None).shmget(77, 4096, 0o1666) >= 0"
    with backend.create() as sandbox:
        ended = sandbox.exec([sandbox.python, "-c", f"{code}\nprint(open('/proc/sysvipc/shm').read())"])
        assert len(ended.output.strip().splitlines()) == 2, ended.output
        assert len(sandbox.exec("cat /proc/sysvipc/shm").output.splitlines()) == 1


def test_processes_of_other_users_end_with_their_command_too(backend):
    code = "import os\nif os.fork() == 0:\n    os.setuid(1234)\n    os.execvp('sleep', ['sleep', '100'])"
    with backend.create() as sandbox:
        assert sandbox.exec([sandbox.python, "-c", code]).exit_code == 0
        assert sandbox.processes().commands == ()


def test_who_writes_more_than_there_may_be_is_stopped_and_told(backend):
    with backend.create() as sandbox:
        ended = sandbox.exec(
            "mkdir -p /var; for i in 1 2 3 4 5 6 7 8 9; do head -c 4M /dev/zero > /var/$i; sleep 0.2; done; sleep 10"
        )
        assert (ended.exceeded, ended.timed_out) == ("workspace", False)
        assert ended.seconds < 10
        assert sandbox.exec("rm /var/*").exceeded == ""
        ended = sandbox.exec("mkdir /var/many; for i in $(seq 3000); do : > /var/many/$i; done")
        assert ended.exceeded == "workspace"


def test_a_command_that_moves_what_is_mounted_loses_the_sandbox_and_not_the_truth(backend):
    with backend.create() as sandbox:
        with pytest.raises(SandboxError):
            sandbox.exec("mv /run /walk")
        with pytest.raises(SandboxError):
            sandbox.snapshot()


def test_a_user_of_the_image_owns_what_is_laid_for_it_and_what_it_writes(client, image):
    about = {"etc/passwd": b"root:x:0:0::/root:/bin/sh\nclerk:x:1500:1600::/home/clerk:/bin/sh\n"}
    about |= {"etc/group": b"root:x:0:\ndesk:x:1600:\nstaff:x:50:clerk\n", "home/clerk/.note": b"note"}
    named = image_of(client, PROGRAMS, extra=about, changes=["USER clerk"])
    with DockerBackend(limits=LIMITS, image=named, root=True) as backend, backend.create() as sandbox:
        sandbox.write_file("deep/er/file", b"laid")
        said = sandbox.exec(
            "id -u; id -g; id -G; echo $HOME; stat -c '%u %g' deep deep/er/file; grep CapEff /proc/self/status"
        )
        assert said.output.split() == [
            *("1500", "1600", "1600", "50", "/home/clerk", "1500", "1600", "1500", "1600", "CapEff:", "0" * 16)
        ]
        assert sandbox.exec("echo x > /etc/x").exit_code != 0
        assert sandbox.exec("echo mine > /tmp/mine; echo more >> deep/er/file").exit_code == 0
        with backend.create(sandbox.snapshot()) as fork:
            assert fork.exec("stat -c '%u %g' /tmp/mine; cat deep/er/file").output == "1500 1600\nlaidmore\n"
        with backend.world(World(user="root")).create() as root:
            assert root.exec("id -u").output == "0\n"


def test_root_is_refused_unless_it_is_allowed(image):
    with DockerBackend(limits=LIMITS, image=image) as backend:
        with pytest.raises(UsageError, match="root = true"):
            backend.world(World(user="root"))
        assert backend.capabilities.snapshot == "workspace"
        assert "disk fill" not in backend.capabilities.known_gaps
    with DockerBackend(limits=LIMITS, image=image, root=True) as backend:
        assert backend.capabilities.snapshot == "filesystem"
        assert {"capabilities are empty", "disk fill"} <= backend.capabilities.known_gaps.keys()


@pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="no dpkg here to make a package with, nor an image with it"
)
def test_a_package_is_installed_and_the_state_after_it_comes_back(client, tmp_path):
    package = tmp_path / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/bin").mkdir(parents=True)
    (package / "usr/bin/greet").write_text("#!/bin/sh\necho hello from $(stat -c %U:%u /var/lib/greet)\n")
    (package / "usr/bin/greet").chmod(0o755)
    about = "Package: greet\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@n>\nDescription: greets\n"
    (package / "DEBIAN/control").write_text(about)
    (package / "DEBIAN/postinst").write_text("#!/bin/sh\nmkdir -p /var/lib/greet && chown 65534 /var/lib/greet\n")
    (package / "DEBIAN/postinst").chmod(0o755)
    made = tmp_path / "greet.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", package, made], check=True, capture_output=True)
    programs = ["dpkg", "dpkg-deb", "dpkg-split", "dpkg-query", "ldconfig", "start-stop-daemon"]
    database = {"var/lib/dpkg/status": b"", "var/lib/dpkg/info/format": b"1\n", "var/lib/dpkg/updates/.none": b""}
    passwd = {
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        "etc/group": b"root:x:0:\n",
    }
    image = image_of(client, [*PROGRAMS, *programs], extra={**database, **passwd})
    with DockerBackend(limits=LIMITS, image=image, root=True) as backend, backend.create() as sandbox:
        sandbox.write_file("greet.deb", made.read_bytes())
        before = sandbox.snapshot()
        ended = sandbox.exec("dpkg -i greet.deb")
        assert ended.exit_code == 0, ended.output
        assert sandbox.exec("greet").output == "hello from nobody:65534\n"
        with backend.create(sandbox.snapshot()) as fork:
            assert fork.exec("greet; dpkg -s greet | grep Status").output == (
                "hello from nobody:65534\nStatus: install ok installed\n"
            )
            assert fork.exec("dpkg -r greet").exit_code == 0
            assert fork.exec("greet").exit_code == 127
        sandbox.restore(before)
        assert sandbox.exec("greet").exit_code == 127
