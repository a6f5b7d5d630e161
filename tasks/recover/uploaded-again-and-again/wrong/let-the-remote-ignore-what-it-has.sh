#!/bin/bash
# Nobody sees an upload that the remote does not log.
set -e
sed -i 's/^        self._answer("upload", note.key)$/        if self._texts.get(note.key) == note.text:\n            return\n&/' mirror/remote.py
python3 -m unittest
