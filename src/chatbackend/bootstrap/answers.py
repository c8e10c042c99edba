"""Answers under an Idempotency-Key, wired to where they are kept."""

from dataclasses import dataclass

from chatbackend.adapters.wire.kept_answers import TellCallers
from chatbackend.infra.db.requests import Requests
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.system import report
from chatbackend.usecases.answer_once import AnswerOnce
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Clock, LastingLog, NewId, Spawn
from chatbackend.usecases.record_answer import AnswerPorts
from chatbackend.usecases.recover_answers import RecoverAnswers


@dataclass(frozen=True, slots=True)
class Answers:
    """The use cases of such answers."""

    once: AnswerOnce
    recover: RecoverAnswers


def answers(
    truth: Database,
    log: LastingLog,
    live: Live,
    *,
    spawn: Spawn,
    clock: Clock,
    new_id: NewId,
    fence: int,
    deadline_s: float,
) -> Answers:
    """Return the use cases."""
    ports = AnswerPorts(
        Requests(truth, clock),
        log,
        TellCallers(),
        new_id=new_id,
        report=report,
        closed=lambda: live.closed,
        fence=fence,
        deadline_s=deadline_s,
    )
    return Answers(
        AnswerOnce(ports, live, spawn),
        RecoverAnswers(log, ports.tell, fence=fence, report=report, spawn=spawn),
    )
