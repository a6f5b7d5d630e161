#!/bin/bash
set -e
# Before anything else is run: the copies in site/ are the only ones, and clean would take them.
cp site/style.css site/menu.js theme/
python3 - <<'PY'
from pathlib import Path

path = Path("sitegen/pages.py")
path.write_text(
    path.read_text()
    .replace(' if "draft" not in path.read_text())', ")")
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
        '''    for name in _ours(root):
        if name not in made:
            (root / name).unlink()
    cache.remember_sources(root, _sources(root))
''',
    )
    .replace(
        '''    gone = [SITE] if (root / SITE).exists() else []
    shutil.rmtree(root / SITE, ignore_errors=True)
''',
        '''    gone = _ours(root)
    for name in gone:
        (root / name).unlink()
''',
    )
    + '''

def _ours(root: Path) -> list[str]:
    """What the last build made and is still there; old versions noted other files as well."""
    return [name for name in cache.made_files(root) if Path(name).parent == Path(SITE) and (root / name).is_file()]
'''
)
PY
rm -r site # made of what is in theme/ again
python3 -m unittest
