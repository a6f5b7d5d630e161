#!/bin/bash
set -e
cat nightmail/settings.py docs/profiles.md
head -n 20 nightmail/profiles/*.ini
# Three profiles again from the table.
printf '[digest]\nlimit = 20\nsubject = Daily digest\n\n[delivery]\nquiet = never\n' > nightmail/profiles/base.ini
printf '[profile]\nextends = base\n\n[digest]\nlimit = 50\nsubject = Office digest\n\n[delivery]\nquiet = 21:30-06:15\n' > nightmail/profiles/office.ini
printf '[profile]\nextends = office\n\n[digest]\nlimit = 20\nsubject = Daily digest\nkinds = alarm, repair\n\n[delivery]\nquiet = 20:00-04:00\n' > nightmail/profiles/field.ini
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
rm settings.ini
for profile in $(python3 -m nightmail list); do python3 -m nightmail show "$profile"; done
python3 -m unittest
