"""Several servers on one PostgreSQL and one Redis, all of this test alone: started, killed and frozen at will."""

import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import OwnServer, own_server
from tests.support.redis import OwnRedis, own_redis
from tests.support.server import PROGRAM, Server


class Replica(Server):
    """One server of several. The key and the data folder are those of all; what it prints is in a folder of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str], *, key: str, data: Path, program: Sequence[str]) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, env, program=program)
        self.key, self.data = key, data

    def freeze(self) -> None:
        """Let it do nothing, while its connections stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The servers and what they stand on."""

    postgres: OwnServer
    redis: OwnRedis
    servers: Sequence[Replica]


@contextmanager
def cluster(
    folder: Path,
    env: Mapping[str, str],
    *,
    servers: int = 2,
    key: str = "sk-test-of-all-servers",
    program: Sequence[str] = (str(PROGRAM),),
) -> Generator[Cluster]:
    """Start everything; stop it at the end."""
    with ExitStack() as stack:
        postgres = stack.enter_context(own_server())
        redis = stack.enter_context(own_redis(folder / "redis"))
        settings = {**env, "DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        made = [
            Replica(folder / f"server-{number}", settings, key=key, data=folder / "data", program=program)
            for number in range(servers)
        ]
        for each in made:
            stack.callback(each.kill)
            each.start()
        yield Cluster(postgres, redis, made)
        for each in made:
            if each.process is not None:
                each.thaw()
                each.stop()
