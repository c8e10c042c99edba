"""Answers under an Idempotency-Key, wired to where they are kept."""

from dataclasses import dataclass

from chatbackend.adapters.wire.kept_answers import TellCallers
from chatbackend.bootstrap.stores import Stores
from chatbackend.infra.db.requests import Requests
from chatbackend.infra.system import report
from chatbackend.usecases.answer_once import AnswerOnce
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Clock, NewId, Spawn
from chatbackend.usecases.record_answer import AnswerPorts
from chatbackend.usecases.recover_answers import RecoverAnswers


@dataclass(frozen=True, slots=True)
class Answers:
    """The use cases of such answers."""

    once: AnswerOnce
    recover: RecoverAnswers


def answers(
    stores: Stores,
    live: Live,
    *,
    spawn: Spawn,
    clock: Clock,
    new_id: NewId,
    deadline_s: float,
) -> Answers:
    """Return the use cases."""
    ports = AnswerPorts(
        Requests(stores.truth, clock, judge=stores.judge),
        stores.log,
        TellCallers(),
        new_id=new_id,
        report=report,
        closed=lambda: live.closed,
        fence=stores.fence,
        deadline_s=deadline_s,
    )
    return Answers(
        AnswerOnce(ports, live, spawn),
        RecoverAnswers(
            ports.requests, stores.log, ports.tell, fences=stores.servers, live=live, report=report, spawn=spawn
        ),
    )
