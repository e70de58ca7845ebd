import sys

import pytest


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Small models run faster on one thread than on several that wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
