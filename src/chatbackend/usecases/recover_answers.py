"""After a crash: every answer under an Idempotency-Key that the dead owner left without an end gets one.

It is never made anew and never gone on with: the provider may have been asked, and a client may have seen its
beginning. What is in the log stays, and the end says that it was interrupted.
"""

from collections.abc import Sequence
from functools import partial

from chatbackend.domain.kept_answers import ENDED, HEAD, WHOLE, interrupted, is_kept_answer
from chatbackend.usecases.journal import LogWriter
from chatbackend.usecases.patience import recovered
from chatbackend.usecases.ports import LastingLog, Report, Spawn
from chatbackend.usecases.record_answer import Tell


class RecoverAnswers:
    """Ends what an earlier process left. Call once, before anything new is accepted."""

    def __init__(
        self, log: LastingLog, tell: Tell, *, fence: int, report: Report, spawn: Spawn, retry_s: float = 1.0
    ) -> None:
        self._log = log
        self._tell = tell
        self._fence = fence
        self._report = report
        self._spawn = spawn
        self._retry_s = retry_s

    async def __call__(self) -> int:
        """Start to end what is not ended; return how many there are."""
        left = [stream for stream in await self._log.unended() if is_kept_answer(stream)]
        self._spawn(lambda: self._work_off(left), name="recovery of answers")
        return len(left)

    async def _work_off(self, left: Sequence[str]) -> None:
        for answer_id in left:
            await recovered(
                partial(self._end, answer_id),
                self._report,
                waiting="recovery of answers waits for the log",
                failed="recovery failed for an answer",
                retry_s=self._retry_s,
            )

    async def _end(self, answer_id: str) -> None:
        writer = LogWriter(self._log, answer_id, fence=self._fence)
        await writer.open()
        events = await self._log.read(answer_id, after=-1, limit=2)
        caller = events[0].data if events else b""
        if len(events) > 1 and events[1].type == HEAD:
            await writer.close(ENDED, self._tell.last(caller, interrupted()))
        else:
            await writer.close(WHOLE, self._tell.whole(caller, interrupted(), final=True))
