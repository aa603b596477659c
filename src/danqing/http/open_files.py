"""How many files and connections this process may have open."""

from contextlib import suppress

try:
    import resource
except ImportError:  # there is none for Windows, which has no such limit
    resource = None

MOST = 65_536  # wanted; some programs count up to the limit, which may be a billion


def most_open_files() -> int:
    """As of now; MOST where the system does not say, or says that there is no limit."""
    if resource is None:
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)


def allow_open_files() -> None:
    """Raises the limit to what the process may have without asking. Shells and services give 1,024, or 256, and each
    connection is one. Processes that are started afterwards have it too.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(OSError, ValueError):  # it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
