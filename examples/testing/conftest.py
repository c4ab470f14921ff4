from pathlib import Path

import pytest

pytest_plugins = ["icwsgw.testing.pytest_plugin"]


@pytest.fixture(scope="session")
def icws_canisters():
    return {"counter": Path(__file__).with_name("counter.py")}
