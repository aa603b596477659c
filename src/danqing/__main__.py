"""`python -m danqing` is the `danqing` command."""

from danqing.cli.main import main

if __name__ == "__main__":
    main()
