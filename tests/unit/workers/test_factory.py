"""Building by name."""

import pickle

from danqing.workers.factory import Factory


def test_a_factory_imports_its_target_only_when_it_builds() -> None:
    # Given a factory that was pickled and read again, of a module that nobody has imported
    factory = pickle.loads(pickle.dumps(Factory[complex](target="builtins:complex", argument="1+2j")))
    unread: Factory[object] = Factory(target="tests.zoo.exits_on_import:build", argument=None)
    assert unread.argument is None  # making it has not imported the module, which would have ended the process
    # When it builds
    # Then the target was called with the argument
    assert factory.build() == 1 + 2j
