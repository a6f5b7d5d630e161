"""The socket to a container: frames in whatever pieces they come, and another end that does as it likes."""

import socket
import struct
import threading
import time

import pytest

from agentdistill.sandbox.docker.attached import Attached


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    removed = []
    attached = Attached(ours, lambda: removed.append(True))
    attached.removed = removed
    yield attached, theirs
    attached.close()
    theirs.close()


def frame(stream: int, content: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(content)) + content


def soon() -> float:
    return time.monotonic() + 5


def received(attached, size: int) -> bytes:
    got = b""
    while len(got) < size and (piece := attached.receive(size - len(got), soon())):
        got += piece
    return got


def test_frames_come_together_however_they_are_cut(ends):
    attached, theirs = ends
    stream = frame(1, b"ab") + frame(1, b"") + frame(2, b"oops\n") + frame(1, b"cdef") + frame(1, b"g")

    def say() -> None:
        for byte in stream:
            theirs.sendall(bytes([byte]))

    thread = threading.Thread(target=say)
    thread.start()
    assert received(attached, 3) == b"abc"
    assert received(attached, 4) == b"defg"
    thread.join()
    assert attached.receive(0, soon()) == b""


def test_nothing_to_read_is_no_reason_to_wait(ends):
    attached, _ = ends
    assert attached.receive(0, time.monotonic() + 60) == b""


def test_what_is_said_on_stderr_are_the_last_words_and_bounded(ends):
    attached, theirs = ends
    writer = threading.Thread(
        target=lambda: theirs.sendall(frame(2, b"x" * 10_000_000) + frame(2, b"\nno memory\xff\n"))
    )
    writer.start()
    with pytest.raises(TimeoutError):
        attached.receive(1, time.monotonic() + 2)
    writer.join()
    theirs.close()
    assert attached.last_words() == "no memory\ufffd"


def test_last_words_do_not_wait_for_somebody_who_never_stops(ends):
    attached, theirs = ends
    stop = threading.Event()

    def say() -> None:
        while not stop.is_set():
            try:
                theirs.sendall(frame(1, b"y" * 100_000))
            except OSError:
                return

    thread = threading.Thread(target=say)
    thread.start()
    began = time.monotonic()
    assert attached.last_words() == ""
    assert time.monotonic() - began < 3
    stop.set()
    attached.close()
    thread.join()


def test_the_end_is_told_in_the_middle_of_a_frame_too(ends):
    attached, theirs = ends
    theirs.sendall(frame(1, b"abc")[:-1])
    theirs.close()
    assert received(attached, 10) == b"ab"


def test_a_deadline_holds_for_reading_and_for_writing(ends):
    attached, _ = ends
    with pytest.raises(TimeoutError):
        attached.receive(1, time.monotonic() + 0.1)
    with pytest.raises(TimeoutError):
        attached.send(bytes(50_000_000), time.monotonic() + 0.2)
    with pytest.raises(TimeoutError):
        attached.send(b"x", time.monotonic() - 1)


def test_whoever_waits_is_woken_and_closing_removes_the_container_once(ends):
    attached, _ = ends
    waker = threading.Timer(0.2, attached.interrupt)
    waker.start()
    assert attached.receive(1, time.monotonic() + 60) == b""
    waker.join()
    attached.close()
    attached.close()
    attached.interrupt()
    assert attached.removed == [True]
