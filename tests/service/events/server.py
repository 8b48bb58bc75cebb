"""A Redis server of the tests' own: on a socket in a directory, nowhere else."""

import shutil
import subprocess
import time
from pathlib import Path

import redis

BINARY = shutil.which("redis-server")
WHY_NOT = "redis-server is not installed"
PATIENCE = 60
SAFE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


class Server:
    """Started with the options given; killed and started again it reads what it had kept."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        self.url = f"unix://{directory}/redis.sock"

    def start(self) -> "Server":
        place = ("--port", "0", "--unixsocket", f"{self.directory}/redis.sock")
        self.process = subprocess.Popen(
            [BINARY, *place, "--dir", str(self.directory), *self.options],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(PATIENCE * 50):
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
            except redis.RedisError:
                assert self.process.poll() is None, "the server did not start"
                time.sleep(0.02)  # until it listens
            else:
                return self
        raise AssertionError(f"the server did not listen within {PATIENCE} s")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def empty(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
