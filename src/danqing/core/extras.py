"""Packages that only some features need: the extras of pyproject.toml."""


def how_to_install(extra: str) -> str:
    """A command for Danqing's folder. By its folder and not by its name, which an index may know as somebody else's."""
    return f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
