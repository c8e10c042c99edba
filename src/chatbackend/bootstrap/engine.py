"""What responses need, wired: the use cases over the stores, alone or among others."""

import time
from dataclasses import dataclass

from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.adapters.api.responses import read_stored
from chatbackend.bootstrap.answers import Answers, answers
from chatbackend.bootstrap.files import FileParts
from chatbackend.bootstrap.stores import Stores
from chatbackend.config import Settings
from chatbackend.domain.pricing import Prices
from chatbackend.infra.counted_truth import CountedResponses
from chatbackend.infra.db.replicas import StoredTurns, StoredWishes
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.steers import StoredSteers
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.heartbeat import Heartbeat, Reaper
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.metrics import Metrics
from chatbackend.infra.system import Ids, SystemClock, Tasks, report
from chatbackend.infra.web.draining import Draining
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.cancel_elsewhere import CancelElsewhere, HeedWishes
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.create_response import CreateResponse
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.follow_response import FollowResponse
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.let_strays_go import LetStraysGo
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import LastingLog
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.recover_responses import RecoverResponses
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.steer_response import SteeringFate, SteerResponse
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import SharedTurns, Turns


@dataclass(frozen=True, slots=True)
class Base:
    """What everything stands on: the stores, the process's own means. `call_key` signs ids of realtime calls."""

    settings: Settings
    stores: Stores
    spool: Spool | None
    tasks: Tasks
    files: FileParts
    ask: AskModel
    prices: Prices
    metrics: Metrics
    clock: SystemClock
    ids: Ids
    draining: Draining
    call_key: str

    @property
    def conversation_changes(self) -> Changes:
        """What is told of conversations."""
        return self.stores.signals.topic("conversation")

    @property
    def truth(self) -> Database:
        """The database of the truth."""
        return self.stores.truth

    @property
    def log(self) -> LastingLog:
        """The event log of stored responses."""
        return self.stores.log


@dataclass(frozen=True, slots=True)
class Engine:
    """The use cases of responses, wired to each other."""

    truth: Responses
    live: Live
    create: CreateResponse
    cancel: CancelResponse
    steer: SteerResponse
    fate: SteeringFate
    follow: FollowResponse
    recover: RecoverResponses
    known: KnownLog
    heed: HeedWishes
    answers: Answers


def wire(base: Base) -> Engine:
    """Wire the use cases."""
    truth = CountedResponses(
        base.truth,
        base.clock,
        base.prices,
        metrics=base.metrics,
        changes=base.conversation_changes,
        judge=base.stores.judge,
    )
    alone, cancels = base.stores.alone, base.stores.signals.topic("cancel")
    wishes = StoredWishes(base.truth)
    turns = Turns() if alone else SharedTurns(StoredTurns(base.truth), base.conversation_changes)
    live = _live(base)
    ports, steers = _ports(base, truth), StoredSteers(base.truth)
    succeed = _succeed(base, ports, steers, live)
    run = RunResponse(ports, live, turns, succeed)
    known = KnownLog(live)
    known.begin(base.stores.log_name)
    return Engine(
        truth,
        live,
        CreateResponse(ports, run, live=live, turns=turns, spawn=base.tasks),
        CancelResponse(truth, live, elsewhere=None if alone else CancelElsewhere(truth, wishes, cancels)),
        SteerResponse(truth, steers, base.ask.models, live=live, new_id=base.ids),
        SteeringFate(steers, live),
        follow=FollowResponse(truth, live, stored_log=base.log, unstored_log=ports.unstored_log),
        recover=RecoverResponses(
            ports,
            run,
            read_stored,
            log=base.log,
            fences=base.stores.servers,
            known=known,
            steers=steers,
            succeed=succeed,
            live=live,
            turns=turns,
            spawn=base.tasks,
        ),
        known=known,
        heed=HeedWishes(wishes, live, cancels, report),
        answers=_answers(base, ports, live),
    )


def _live(base: Base) -> Live:
    live = Live(
        time.monotonic,
        max_running=base.settings.chatbackend_max_running,
        per_user=base.settings.chatbackend_max_running_per_user,
    )
    base.metrics.running = lambda: len(live.at_work())
    return live


def _succeed(base: Base, ports: Ports, steers: StoredSteers, live: Live) -> Succeed:
    return Succeed(
        ports.truth,
        steers,
        live=live,
        spawn=base.tasks,
        clock=base.clock,
        new_id=base.ids,
        report=report,
        fence=ports.fence,
    )


def _answers(base: Base, ports: Ports, live: Live) -> Answers:
    return answers(
        base.stores,
        live,
        spawn=base.tasks,
        clock=base.clock,
        new_id=base.ids,
        deadline_s=ports.deadline_s,
    )


def _ports(base: Base, truth: CountedResponses) -> Ports:
    return Ports(
        truth,
        base.log,
        MemoryEventLog(time.monotonic),
        ask=base.ask,
        search=base.files.search,
        prepare=PrepareRequest(base.files.attachments),
        renderer=ResponseEvents(),
        clock=base.clock,
        new_id=base.ids,
        report=report,
        fence=base.stores.fence,
        deadline_s=base.settings.chatbackend_response_deadline_s,
    )


def share(base: Base, engine: Engine) -> None:
    """Hold what is this server's among others, and take over what is left by those who die."""
    servers = base.stores.servers
    strays = LetStraysGo(
        engine.truth, engine.live, base.clock, fences=servers, known=engine.known, fence=base.stores.fence
    )
    sweeps = (strays, engine.recover, engine.answers.recover, base.files.queue.reclaim, servers.tidy)
    base.tasks(engine.heed.run, name="wishes to cancel")
    base.tasks(Heartbeat(servers, engine.known, report).run, name="heartbeat")
    base.tasks(Reaper(servers, sweeps, report, at_once=(engine.recover,)).run, name="reaper")
