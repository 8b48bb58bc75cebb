"""One thread a process: pytest runs one process a core, and figures must not depend on the cores."""

import os
import sys

import pytest

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)  # before torch is imported, here and in child processes


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A working directory for models of one's own; afterwards no other test sees them."""
    from isthmus import models
    from isthmus.models.base import _registered

    models.names()  # the library's
    registered, modules = dict(_registered), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    _registered.clear()
    _registered.update(registered)
