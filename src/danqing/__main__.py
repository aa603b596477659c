"""The `danqing` command. A worker's process imports this module too, as every process does that Python starts: it is to
cost nothing there.
"""


def main() -> None:
    """See `cli/main.py`."""
    from danqing.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
