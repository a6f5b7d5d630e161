"""The other side, as far as we need it: here one that keeps everything in memory."""

from mirror.notes import Note


class Unreachable(Exception):
    """It does not answer."""


class Remote:
    """Keeps notes, and a log of what it was asked to do: ``("upload", key)`` and ``("delete", key)``."""

    def __init__(self, answers: int | None = None) -> None:
        """`answers` is how often it answers before it is unreachable; always, unless given."""
        self.answers = answers
        self.log: list[tuple[str, str]] = []
        self._texts: dict[str, str] = {}

    def upload(self, note: Note) -> None:
        """Keep a note, over the one that has its key.

        Raises:
            Unreachable: it does not answer.
        """
        self._answer("upload", note.key)
        self._texts[note.key] = note.text

    def delete(self, key: str) -> None:
        """Drop a note; no matter if there is none.

        Raises:
            Unreachable: it does not answer.
        """
        self._answer("delete", key)
        self._texts.pop(key, None)

    def read(self) -> dict[str, str]:
        """Key → text of everything that it keeps."""
        return dict(self._texts)

    def _answer(self, action: str, key: str) -> None:
        if self.answers is not None:
            if self.answers <= 0:
                raise Unreachable(f"no answer to {action} {key}")
            self.answers -= 1
        self.log.append((action, key))
