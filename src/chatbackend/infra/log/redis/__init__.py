"""The event log on Redis Streams, for replicas that share one log. Redis 7 or later.

Event number n has the stream id `(n+1)-0`. All keys of a response share one hash tag, and everything that is
decided is decided inside one script, by the fence and the number that the log expects next.
"""

from chatbackend.infra.log.redis.log import RedisEventLog

__all__ = ["RedisEventLog"]
