"""Every answer under an Idempotency-Key that a dead server left without an end gets one.

It is never made anew and never gone on with: the provider may have been asked, and a client may have seen its
beginning. What is in the log stays, and the end says that it was interrupted.

The order is that of responses: a new fence in the truth, then in the log, and only then the log is read.
"""

from collections.abc import Sequence
from functools import partial

from chatbackend.domain.kept_answers import AT_LAST, ENDED, HEAD, WHOLE, interrupted, is_kept_answer
from chatbackend.usecases.journal import LogWriter
from chatbackend.usecases.live import Live
from chatbackend.usecases.patience import recovered
from chatbackend.usecases.ports import LastingLog, Report, Spawn
from chatbackend.usecases.record_answer import Requests, Tell, Unended
from chatbackend.usecases.replica_ports import Fences

NOBODYS = 0  # the fence of what has ended in the truth, or is not in it, while the log lacks its end


class RecoverAnswers:
    """Ends what others left: at the start where there is one server, now and then where there are many.

    It must only be called while every living server has had the time to renew its lease.
    """

    def __init__(
        self,
        requests: Requests,
        log: LastingLog,
        tell: Tell,
        *,
        fences: Fences,
        live: Live,
        report: Report,
        spawn: Spawn,
        retry_s: float = 1.0,
    ) -> None:
        self._requests = requests
        self._log = log
        self._tell = tell
        self._fences = fences
        self._live = live
        self._report = report
        self._spawn = spawn
        self._retry_s = retry_s
        self._ending: set[str] = set()

    async def __call__(self) -> int:
        """Start to end what nobody is about to end; return how many there are. Raises: Unavailable."""
        if self._live.closed:
            return 0
        left = await self._left()
        if left:
            fence = await self._fences.draw(await self._log.identity())
            self._ending.update(each.answer_id for each in left)
            self._spawn(partial(self._work_off, left, fence), name="recovery of answers")
        return len(left)

    async def _left(self) -> list[Unended]:
        """Return what lacks its end, by the truth or by the log; the log is asked first, since it is written last."""
        streams = [stream for stream in await self._log.unended() if is_kept_answer(stream)]
        rows = await self._requests.unended()
        known = {row.answer_id for row in rows}
        lost = [Unended(stream, NOBODYS, owned=False) for stream in streams if stream not in known]
        return [each for each in (*rows, *lost) if self._is_left(each)]

    def _is_left(self, each: Unended) -> bool:
        """Return whether nobody is about to end it: its owner is dead, or is this server and does not make it."""
        if each.answer_id in self._ending or self._live.answering(each.answer_id) is not None:
            return False
        return each.fence in self._fences.held or not each.owned

    async def _work_off(self, left: Sequence[Unended], fence: int) -> None:
        for each in left:
            await recovered(
                partial(self._take_over, each, fence),
                self._report,
                waiting="recovery of answers waits for the stores",
                failed="recovery failed for an answer",
                retry_s=self._retry_s,
            )
            self._ending.discard(each.answer_id)

    async def _take_over(self, each: Unended, fence: int) -> None:
        """Own it by a fence, then end it."""
        if each.fence in self._fences.held:
            fence = each.fence
        elif each.fence != NOBODYS and not await self._requests.take(each.answer_id, fence=each.fence, to=fence):
            return
        await self._end(each.answer_id, fence)
        await self._requests.end(each.answer_id, fence=fence)

    async def _end(self, answer_id: str, fence: int) -> None:
        writer = LogWriter(self._log, answer_id, fence=fence)
        await writer.open()
        extent = await self._log.extent(answer_id)
        if extent is not None and extent.ended:
            return
        events = await self._log.read(answer_id, after=-1, limit=2)
        caller = events[0].data if events else b""
        if len(events) > 1 and events[1].type == HEAD:
            await writer.close(ENDED, self._tell.last(caller, interrupted()), at_least=AT_LAST)
        else:
            await writer.close(WHOLE, self._tell.whole(caller, interrupted(), final=True), at_least=AT_LAST)
