"""What axe finds on the page as it is."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe

from tests.browser.studio import Studio


def violations(studio: Studio) -> list[str]:
    """What axe finds, each as one line."""
    found: list[dict[str, Any]] = Axe().run(studio.page).response["violations"]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]
