"""Realtime sessions composed."""

from chatbackend.adapters.api.conversation_events import item_change
from chatbackend.bootstrap.engine import Base
from chatbackend.domain.limits import PerUser
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.db.conversation_records import StoredRecords
from chatbackend.infra.system import report
from chatbackend.infra.web.call_bills import CallBills, CallPorts
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.realtime import RealtimeRoutes
from chatbackend.infra.web.realtime_calls import RealtimeCallRoutes
from chatbackend.infra.web.relayed_session import RelayedSessions, RelayPorts
from chatbackend.infra.web.text_sessions import TextSessionPorts, TextSessions
from chatbackend.usecases.call_realtime import CallRealtime
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.generate import Generate
from chatbackend.usecases.learn_of_others import LearnOfOthers
from chatbackend.usecases.open_realtime import OpenRealtime
from chatbackend.usecases.ports import RelayLedger


def records_of(base: Base) -> StoredRecords:
    """Return conversations as live sessions read and write them."""
    return StoredRecords(base.truth, base.clock, base.conversation_changes)


def realtime_routes(
    base: Base, generate: Generate, ledger: RelayLedger, watch: KeyWatch, *, sockets: PerUser, call_key: str
) -> tuple[RealtimeRoutes, RealtimeCallRoutes]:
    """Return the routes; `sockets` counts those of every kind, `call_key` signs ids of calls."""
    opening, calling = OpenRealtime(base.ask), CallRealtime(base.ask)
    bills = CallBills(CallPorts(calling, ledger, watch, draining=base.draining, spawn=base.tasks, new_id=base.ids))
    call_routes = RealtimeCallRoutes(calling, bills, sockets, call_key.encode())
    records = records_of(base)
    follow = FollowConversation(ConversationLog(base.truth), base.conversation_changes)
    learn = LearnOfOthers(follow, records, item_change, report)
    ports = RelayPorts(
        opening,
        calling,
        ledger,
        base.files.search,
        watch=watch,
        draining=base.draining,
        clock=base.clock,
        new_id=base.ids,
        records=records,
        learn=learn,
        report=report,
        max_frame_bytes=base.settings.max_frame_bytes,
        ping_s=base.settings.chatbackend_ping_s,
    )
    bridge = TextSessions(
        TextSessionPorts(
            generate,
            base.files.search,
            watch,
            draining=base.draining,
            new_id=base.ids,
            records=records,
            learn=learn,
            report=report,
            max_frame_bytes=base.settings.chatbackend_max_body_bytes,
        )
    )
    routes = RealtimeRoutes(
        opening,
        RelayedSessions(ports),
        sockets,
        records,
        new_id=base.ids,
        bridge=bridge,
        transcriber=base.settings.chatbackend_transcription_model,
        find_call=call_routes.joined,
    )
    return routes, call_routes
