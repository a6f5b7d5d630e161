"""``python3 -m nightmail show PROFILE`` tells what a profile is set to, ``python3 -m nightmail list`` which there are."""

import sys

from nightmail.settings import BadSetting, Settings, load, profiles


def describe(settings: Settings) -> str:
    """One line per setting."""
    quiet = "never" if settings.quiet is None else "-".join(f"{each:%H:%M}" for each in settings.quiet)
    kinds = ", ".join(settings.kinds) or "all"
    return f"limit = {settings.limit}\nsubject = {settings.subject}\nkinds = {kinds}\nquiet = {quiet}"


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 2 where a profile or the call is wrong."""
    try:
        if arguments == ["list"]:
            print("\n".join(profiles()))
        elif len(arguments) == 2 and arguments[0] == "show":
            print(describe(load(arguments[1])))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except BadSetting as error:
        print(f"nightmail: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
