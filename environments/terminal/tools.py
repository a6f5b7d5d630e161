"""What an agent works with: a shell, and an editor for the files of the workspace."""

from __future__ import annotations

import posixpath

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ToolError
from agentdistill.tools import tool

from .output import counted_tests, cut, lines_of, numbered, replaced


class Tools(ToolEnvironment):
    """The tools of `Terminal` but for `submit`.

    Attributes:
        most_lines: of an output, or of a file, that a model is shown at once.
        most_characters: likewise.
    """

    uses_sandbox = True
    most_lines: int
    most_characters: int

    @property
    def base(self) -> str:
        """The folder that paths are relative to: the workspace, or one in it."""
        return "."

    @property
    def patience(self) -> float | None:
        """Seconds that one command may take; `None` for what the sandbox gives."""
        return None

    @tool
    def bash(self, command: str) -> str:
        """Run a shell command line. The working directory and exported variables persist.

        Args:
            command: what to run, without a terminal
        """
        assert self.sandbox is not None
        result = self.sandbox.exec(command, timeout=self.patience)
        output = cut(result.output, self.most_lines, self.most_characters)
        self.signal(exit_code=result.exit_code, **counted_tests(result.output))
        if result.timed_out:
            self.signal(timed_out=True)
            raise ToolError(f"the command took too long and was stopped\n{output}".rstrip())
        if result.exit_code or not output:
            return f"{output}[exit code {result.exit_code}]"
        return output

    @tool
    def view(self, path: str, first: int = 1, last: int = 0) -> str:
        """Show a file with its line numbers, or the files below a folder.

        Args:
            path: relative to the directory that the task begins in
            first: line to begin with, from 1
            last: line to end with; 0 for the end of the file
        """
        assert self.sandbox is not None
        try:
            names = self.sandbox.list_files(self._located(path))
        except (FileNotFoundError, PermissionError):
            lines = [line.removesuffix("\n") for line in lines_of(self._text(path))]
            if first < 1 or (first > len(lines) and lines) or (last and last < first):
                raise ToolError(f"{path} has {len(lines)} lines: give first and last among them") from None
            shown = numbered(lines[first - 1 : last or len(lines)], first)
            return cut(shown, self.most_lines, self.most_characters) or "[an empty file]"
        shown = "".join(f"{name}\n" for name in names if not name.startswith(".harbor/"))
        return cut(shown, self.most_lines, self.most_characters) or "[no files]"

    @tool
    def edit(self, path: str, old: str, new: str) -> str:
        """Replace a piece of a file's text, which must occur in it exactly once, by another.

        Args:
            path: relative to the directory that the task begins in
            old: the exact text to replace, white space included
            new: the text to put in its place
        """
        text, line = replaced(path, self._text(path), old, new)
        self._write(path, text)
        return f"replaced at line {line} of {path}"

    @tool
    def insert(self, path: str, line: int, text: str) -> str:
        """Insert lines into a file.

        Args:
            path: relative to the directory that the task begins in
            line: the line after which they go, from 1; 0 for the top
            text: the lines
        """
        lines = lines_of(self._text(path))
        if not 0 <= line <= len(lines):
            raise ToolError(f"{path} has {len(lines)} lines: line is from 0 to that")
        if line and not lines[line - 1].endswith("\n"):
            lines[line - 1] += "\n"
        lines.insert(line, text if text.endswith("\n") else f"{text}\n")
        self._write(path, "".join(lines))
        return f"inserted after line {line} of {path}"

    @tool
    def create(self, path: str, content: str) -> str:
        """Write a whole file, in place of one that is there, with the folders it lies in.

        Args:
            path: relative to the directory that the task begins in
            content: all of its text
        """
        self._write(path, content)
        return f"wrote {len(lines_of(content))} lines to {path}"

    def _located(self, path: str) -> str:
        if not path:
            raise ToolError("path is empty: name a file")
        return posixpath.normpath(posixpath.join(self.base, path))

    def _text(self, path: str) -> str:
        assert self.sandbox is not None
        try:
            return self.sandbox.read_file(self._located(path)).decode()
        except (FileNotFoundError, PermissionError) as error:
            told = "paths are relative to the directory that the task began in; bash reaches others"
            raise ToolError(f"{error} ({told})") from error
        except UnicodeDecodeError as error:
            raise ToolError(f"{path} is not UTF-8 text: use bash") from error

    def _write(self, path: str, text: str) -> None:
        assert self.sandbox is not None
        try:
            content = text.encode()
            self.sandbox.write_file(self._located(path), content)
        except (PermissionError, UnicodeEncodeError) as error:
            raise ToolError(f"{path} cannot be written: {error}") from error
