"""Fixtures of the real world (NATS, PostgreSQL, secrets) for every test below, and who runs what when."""

import pytest
from _pytest.nodeid import NodeId

pytest_plugins = ["kestrel_testkit.fixtures"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_longest_first)
    for item in items:
        _keep_its_group(item)


def _longest_first(item: pytest.Item) -> tuple[float, bool]:
    """The short ones fill the gaps at the end, so that no worker waits for the other. A test that was given more time
    than others takes longer than others; so does one that needs servers or processes.
    """
    timeout = item.get_closest_marker("timeout")
    return (-timeout.args[0] if timeout else 0.0, item.get_closest_marker("integration") is None)


def _keep_its_group(item: pytest.Item) -> None:
    """Let ``xdist_group`` be heard: one group, one worker.

    Under ``--dist loadgroup`` pytest-xdist 3.8 tells a test's group by renaming the test, through an attribute that
    pytest 9.2 no longer reads. Unheard, a group starts on both workers what it would start once.
    """
    renamed: str | None = getattr(item, "_nodeid", None)
    if renamed is not None:
        item._id = NodeId.parse(renamed)
