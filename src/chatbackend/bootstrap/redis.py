"""The event log on Redis, as the settings ask for it."""

from contextlib import AsyncExitStack

from redis.exceptions import AuthenticationError, RedisError

from chatbackend.config import BadSetting
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.infra.log.redis.links import LOST, Links
from chatbackend.infra.log.redis.signals import RedisSignals

OLDEST = 7
CHECK_S = 5.0


async def open_log(url: str, prefix: str, stack: AsyncExitStack) -> tuple[RedisEventLog, RedisSignals]:
    """Open the log and the signals, once it is sure that Redis answers. Raises: BadSetting."""
    await check(url)
    log = await stack.enter_async_context(RedisEventLog(url, prefix=prefix))
    return log, await stack.enter_async_context(RedisSignals(url, prefix=prefix))


async def check(url: str) -> str:
    """Return what an operator should mend, "" where nothing is. Raises: BadSetting where it cannot be used."""
    try:
        async with Links(url).link(timeout_s=CHECK_S) as link:
            [told] = await link.exchange([("INFO",)])
    except (*LOST, RedisError) as error:
        why = "wrong password" if isinstance(error.__cause__, AuthenticationError) else "nothing answers there"
        raise BadSetting(f"REDIS_URL: Redis cannot be used ({why}).") from error
    if not isinstance(told, bytes):
        raise BadSetting(f"REDIS_URL: Redis cannot be used ({told}).")
    facts = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
    if int(facts["redis_version"].partition(".")[0]) < OLDEST:
        raise BadSetting(f"REDIS_URL: Redis {facts['redis_version']} is older than {OLDEST}.")
    if facts["maxmemory_policy"] != "noeviction" and facts["maxmemory"] != "0":
        return "set maxmemory-policy to noeviction: a stream that is thrown out is one that its readers lose"
    return ""
