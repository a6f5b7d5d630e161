#!/bin/bash
set -e
cat docs/keys.md
grep -rn "portable_key\|casefold" mirror
sed -i 's/portable_key/clean_key/g' mirror/notes.py mirror/state.py
sed -i '/^def portable_key/,$d' mirror/keys.py
python3 - <<'PYTHON'
from pathlib import Path

path = Path("mirror/remote.py")
text = path.read_text()
text = text.replace(
    "        if self._texts.get(note.key) == note.text:\n            return\n",
    "",
)
text = text.replace(
    "        for name in [each for each in self._texts if each.casefold() == key.casefold()]:\n"
    "            del self._texts[name]\n",
    "        self._texts.pop(key, None)\n",
)
path.write_text(text)
PYTHON
python3 -m unittest
