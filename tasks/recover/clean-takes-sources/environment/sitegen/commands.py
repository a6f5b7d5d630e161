"""The commands. Each takes the root of the site and says in lines what it did."""

import shutil
from pathlib import Path

from sitegen import cache
from sitegen.markup import to_html
from sitegen.pages import read_pages

SITE = "site"
PAGES = "pages"
THEME = "theme"


def build(root: Path) -> list[str]:
    """Make `site/` from `pages/*.txt`, with the theme's frame around each, and the theme's other files copied."""
    frame = (root / THEME / "frame.html").read_text(encoding="utf-8")
    pages = read_pages(root / PAGES)
    menu = "".join(f'<li><a href="{page.name}.html">{page.title}</a></li>' for page in pages)
    (root / SITE).mkdir(exist_ok=True)
    made = []
    for page in pages:
        filled = frame.replace("@TITLE@", page.title).replace("@MENU@", menu).replace("@TEXT@", to_html(page.text))
        (root / SITE / f"{page.name}.html").write_text(filled, encoding="utf-8")
        made.append(f"{SITE}/{page.name}.html")
    for path in sorted((root / THEME).iterdir()):
        if path.name != "frame.html":
            shutil.copyfile(path, root / SITE / path.name)
            made.append(f"{THEME}/{path.name}")
    cache.remember_sources(root, _sources(root))
    cache.remember_made(root, made)
    return [f"made {len(made)} files of {len(pages)} pages"]


def check(root: Path) -> list[str]:
    """Say which sources were changed since the last build."""
    changed = cache.changed_sources(root, _sources(root))
    return [f"changed: {name}" for name in changed] or ["nothing changed"]


def clean(root: Path) -> list[str]:
    """Remove what the last build made."""
    gone = [name for name in cache.made_files(root) if (root / name).exists()]
    for name in gone:
        (root / name).unlink()
    cache.remember_made(root, [])
    return [f"removed {name}" for name in gone] or ["nothing to remove"]


def distclean(root: Path) -> list[str]:
    """Remove what builds made, and what they remember."""
    said = clean(root)
    shutil.rmtree(root / cache.HOME, ignore_errors=True)
    return [*said, f"removed {cache.HOME}"]


def _sources(root: Path) -> list[str]:
    found = [*(root / PAGES).glob("*.txt"), *(root / THEME).iterdir()]
    return sorted(path.relative_to(root).as_posix() for path in found)
