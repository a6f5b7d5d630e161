#!/bin/bash
# What builds note is right from now on. What is noted already still names the theme's files, and `clean` believes it.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("sitegen/pages.py")
path.write_text(
    path.read_text()
    .replace("    text: str\n", "    text: str\n    draft: bool = False\n", 1)
    .replace(
        '''    return Page(path.stem, about["title"], int(about.get("order", "100")), text)
''',
        '''    draft = about.get("draft", "no")
    if draft not in ("yes", "no"):
        raise ValueError(f"{path.name}: draft is yes or no, not {draft!r}")
    return Page(path.stem, about["title"], int(about.get("order", "100")), text, draft == "yes")
''',
    )
)
path = Path("sitegen/commands.py")
path.write_text(
    path.read_text()
    .replace("pages = read_pages(root / PAGES)", "pages = [page for page in read_pages(root / PAGES) if not page.draft]")
    .replace('made.append(f"{THEME}/{path.name}")', 'made.append(f"{SITE}/{path.name}")')
    .replace(
        '''    cache.remember_sources(root, _sources(root))
''',
        '''    for name in set(cache.made_files(root)) - set(made):
        (root / name).unlink(missing_ok=True)
    cache.remember_sources(root, _sources(root))
''',
    )
)
PY
sed -i '1,/^order/s/^order: 3$/order: 3\ndraft: yes/' pages/board.txt
python3 -m unittest
