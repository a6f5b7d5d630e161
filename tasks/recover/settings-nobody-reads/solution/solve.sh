#!/bin/bash
set -e
cat nightmail/settings.py docs/profiles.md
head -n 20 nightmail/profiles/*.ini
# field inherits from office, so it needs as its own what it had from there.
sed -i 's/^extends = base$/&\n\n[digest]\nlimit = 50\nsubject = Office digest/; s/^quiet = .*/quiet = 21:30-06:15/' nightmail/profiles/office.ini
sed -i 's/^kinds = .*/limit = 20\nsubject = Daily digest\n&/' nightmail/profiles/field.ini
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
