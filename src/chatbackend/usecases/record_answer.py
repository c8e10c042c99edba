"""Make one answer into its log, from its first event to its last: whoever listens is a cursor on that."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio

from chatbackend.domain.errors import ChatError, Gone, Internal, Unavailable, UpstreamTimeout
from chatbackend.domain.identity import Principal
from chatbackend.domain.kept_answers import BEGUN, CHUNK, ENDED, HEAD, WHOLE, frees_key, interrupted
from chatbackend.usecases.journal import LogWriter
from chatbackend.usecases.live import Answering
from chatbackend.usecases.patience import waits
from chatbackend.usecases.ports import Begun, EventLog, Fenced, NewId, Once, Report


@dataclass(frozen=True, slots=True)
class Unended:
    """An answer that has not ended, under which fence, and whether a server holds that."""

    answer_id: str
    fence: int
    owned: bool


class Requests(Protocol):
    """What was asked under Idempotency-Keys. Every method is one transaction, committed when it returns.

    An answer is its owner's, by the fence under which it began, until it has ended. Every method may raise Unavailable.
    """

    async def begin(self, principal: Principal, once: Once, answer_id: str, *, fence: int) -> Begun:
        """Remember what a request makes, or find what it made before.

        Raises: Unprocessable (same key, other body).
        """
        ...

    async def under_way(self, answer_id: str) -> int | None:
        """Return the fence under which an answer is being made, None when it has ended or there is none."""
        ...

    async def forget(self, answer_id: str, *, fence: int) -> None:
        """Free the key of a request that made nothing; its owner has still to end it. Raises: Fenced."""
        ...

    async def end(self, answer_id: str, *, fence: int) -> None:
        """Remember that an answer has its end in the log; nothing happens when another owner has it."""
        ...

    async def unended(self) -> Sequence[Unended]:
        """Return every answer that has not ended."""
        ...

    async def take(self, answer_id: str, *, fence: int, to: int) -> bool:
        """Make `to` the owner of an answer that the dead owner `fence` left, if it is not; False: another has it."""
        ...


class Tell(Protocol):
    """Puts an error into the words of a caller; `caller` is what was written down of it when it asked."""

    def whole(self, caller: bytes, error: ChatError, *, final: bool) -> bytes:
        """Return a whole answer; `final`: the same request would only be given it again."""
        ...

    def last(self, caller: bytes, error: ChatError) -> bytes:
        """Return the last bytes of a stream."""
        ...


class AnswerWriter(LogWriter):
    """Writes the log of an answer: where a part of it is lost, no end may make it look whole."""

    def __init__(self, log: EventLog, answer_id: str, *, fence: int, requests: Requests) -> None:
        super().__init__(log, answer_id, fence=fence)
        self._requests = requests

    def _goes_on_without(self, *, ended: bool) -> bool:
        raise Gone("The log has lost a part of this answer.")

    async def _check_owner(self) -> None:
        if await self._requests.under_way(self._stream_id) != self._fence:
            raise Fenced


class Recorder:
    """Takes an answer in place of a client: `head` and `write` a stream and `end` it, or give it `whole`."""

    def __init__(self, writer: LogWriter) -> None:
        self.begun = False
        self.terminal: tuple[str, bytes] | None = None
        self._writer = writer

    def head(self, data: bytes) -> None:
        """Begin a stream."""
        self.begun = True
        self._writer.add(HEAD, data)

    def write(self, chunk: bytes) -> bool:
        """Take more of a stream; False: no more is wanted before `drained`."""
        if chunk:
            self._writer.add(CHUNK, chunk)
        return not self._writer.full

    async def drained(self) -> None:
        """Return once there is room for more. Raises: Fenced, Gone, Unavailable."""
        await self._writer.flush()

    def end(self, last: bytes) -> None:
        """End a stream with its last bytes."""
        self.terminal = ENDED, last

    def whole(self, data: bytes) -> None:
        """Take a whole answer."""
        self.terminal = WHOLE, data


class Work(Protocol):
    """Makes an answer."""

    async def __call__(self, recorder: Recorder) -> None:
        """Answer, for as long as it takes. Raises: ChatError, before anything was recorded."""
        ...


@dataclass(frozen=True, slots=True)
class AnswerPorts:
    """What keeping answers needs of the world. `closed` says whether the server stops."""

    requests: Requests
    log: EventLog
    tell: Tell
    new_id: NewId
    report: Report
    closed: Callable[[], bool]
    fence: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A request under a key; `caller` is what `Tell` needs to know of who asked."""

    principal: Principal
    once: Once
    caller: bytes


class RecordAnswer:
    """One answer from its row to its terminal event; the row is committed."""

    def __init__(self, ports: AnswerPorts, answering: Answering, asked: Asked) -> None:
        self._ports = ports
        self._answering = answering
        self._asked = asked
        self._writer = AnswerWriter(ports.log, answering.id, fence=ports.fence, requests=ports.requests)
        self._recorder = Recorder(self._writer)
        self._fenced = False
        self._failure: ChatError | None = None  # of the log

    async def __call__(self, work: Work) -> None:
        """Have the answer made; also when cancelled: then it ends `interrupted` first."""
        error: ChatError | None = interrupted()
        try:
            if await self._opened():
                error = await self._record(work)
        finally:
            self._answering.opened.set()
            with anyio.CancelScope(shield=True):
                await self._end(error)

    async def _opened(self) -> bool:
        """Begin the log, which says from now on that somebody may have been asked."""
        try:
            await self._writer.open(fresh=True)
            self._writer.add(BEGUN, self._asked.caller)
            await self._writer.flush()
        except Fenced:
            self._fenced = True
        except ChatError as error:
            self._answering.refused = error
        self._answering.opened.set()
        return self._answering.refused is None and not self._fenced

    async def _record(self, work: Work) -> ChatError | None:
        """Have the work done, with the log written behind it; return what went wrong."""
        error: ChatError | None = interrupted()
        async with anyio.create_task_group() as group:
            with self._answering.scope:
                group.start_soon(self._pump)
                try:
                    with anyio.fail_after(self._ports.deadline_s):
                        await work(self._recorder)
                    error = None
                except TimeoutError:
                    error = UpstreamTimeout("The answer took too long.", code="deadline_exceeded")
                except ChatError as failure:
                    error = failure
                except Exception as failure:  # the edge of an owned task: it must end, and be seen
                    self._ports.report("an answer failed unexpectedly", failure)
                    error = Internal("The server failed on this request; the log has the cause.")
            group.cancel_scope.cancel()
        return self._failure or error

    async def _pump(self) -> None:
        """Write the log; when that fails, end the work."""
        try:
            await self._writer.pump()
        except Fenced:
            self._fenced = True
        except Gone:
            self._failure = interrupted()
        except ChatError as error:
            self._failure = error
        self._answering.scope.cancel()

    async def _end(self, error: ChatError | None) -> None:
        """Free the key where nothing came of the request, then end the log, then let go of the row."""
        if self._answering.refused is not None:
            ended = await self._patiently(self._forget)
        else:
            kind, data = self._recorder.terminal or await self._told(error or Internal("The server gave no answer."))
            ended = await self._patiently(lambda: self._writer.close(kind, data))
        if ended:
            await self._patiently(lambda: self._ports.requests.end(self._answering.id, fence=self._ports.fence))

    async def _told(self, error: ChatError) -> tuple[str, bytes]:
        """Return the terminal event that tells of an error; a key that it frees is free before it is told."""
        tell, caller = self._ports.tell, self._asked.caller
        if self._recorder.begun:
            return ENDED, tell.last(caller, error)
        freed = frees_key(error)
        if freed:
            await self._patiently(self._forget)
        return WHOLE, tell.whole(caller, error, final=not freed)

    async def _forget(self) -> None:
        await self._ports.requests.forget(self._answering.id, fence=self._ports.fence)

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Take a step, however long a store refuses it; False: somebody else has to, or will.

        Where the log is gone, there is nothing to be written any more.
        """
        pauses = waits()
        while not self._fenced:
            try:
                await step()
            except Fenced:
                self._fenced = True
            except Gone:
                return True
            except Unavailable as error:
                self._ports.report("the end of an answer could not be saved yet", error)
                if self._ports.closed():
                    return False
                await anyio.sleep(next(pauses))
            else:
                return True
        return False
