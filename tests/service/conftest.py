"""One pair of data sets and its runs for all tests of the service."""

import pytest

from tests.service.pair import make


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pair"))
