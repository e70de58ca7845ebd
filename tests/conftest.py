"""What concerns the whole test run."""


def pytest_collection_modifyitems(items):
    """Start the slow tests first: one that starts last keeps a single core busy at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
