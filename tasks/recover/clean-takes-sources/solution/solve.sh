#!/bin/bash
set -e
cat docs/site.md sitegen/commands.py .sitegen/made.json
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
    .replace(
        '''    pages = read_pages(root / PAGES)
''',
        '''    pages = [page for page in read_pages(root / PAGES) if not page.draft]
''',
    )
    .replace('made.append(f"{THEME}/{path.name}")', 'made.append(f"{SITE}/{path.name}")')
    .replace(
        '''    cache.remember_sources(root, _sources(root))
''',
        '''    for name in _ours(root):
        if name not in made:
            (root / name).unlink()
    cache.remember_sources(root, _sources(root))
''',
    )
    .replace(
        '''    gone = [name for name in cache.made_files(root) if (root / name).exists()]
''',
        '''    gone = _ours(root)
''',
    )
    + '''

def _ours(root: Path) -> list[str]:
    """What the last build made and is still there. Old versions noted sources as well: those are not ours."""
    noted = {f"{SITE}/{Path(name).name}" for name in cache.made_files(root) if name.startswith(f"{THEME}/")}
    noted |= {name for name in cache.made_files(root) if Path(name).parent == Path(SITE)}
    return sorted(name for name in noted if (root / name).is_file())
'''
)
PY
sed -i '1,/^order/s/^order: 3$/order: 3\ndraft: yes/' pages/board.txt
python3 -m unittest
