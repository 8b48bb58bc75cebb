"""One thread a process: pytest runs one process a core, and figures must not depend on the cores."""

import os

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)  # before torch is imported, here and in child processes
