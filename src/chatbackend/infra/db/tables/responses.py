"""Tables of conversations, responses, their items, the usage ledger and the create requests."""

from sqlalchemy import BigInteger, Column, Index, Table, literal_column
from sqlalchemy import text as sql

from chatbackend.infra.db.tables.schema import BIG, METADATA, TEXT, blob, integer, owned, text

CONVERSATIONS = Table(
    "conversations",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    integer("created_at"),
    blob("metadata"),
    integer("next_turn", default="1"),
    integer("updated_at", default="0"),
    integer("archived", default="0"),
    text("title", null=True),  # as it was given
    text("derived_title", null=True),  # as the first user message gives it
    text("branched_from", null=True),
    integer("next_event", default="0"),
)
Index(
    "conversations_by_activity",
    CONVERSATIONS.c.tenant,
    CONVERSATIONS.c.owner,
    CONVERSATIONS.c.updated_at,
    CONVERSATIONS.c.id,
)

CONVERSATION_EVENTS = Table(
    "conversation_events",
    METADATA,
    Column("conversation_id", TEXT, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    text("type"),
    blob("data"),
    sqlite_with_rowid=False,
)

# What search looks through, an owner's rows side by side: the words of each message, and those of a given title.
CONVERSATION_WORDS = Table(
    "conversation_words",
    METADATA,
    Column("tenant", TEXT, primary_key=True),
    Column("owner", TEXT, primary_key=True),
    Column("conversation_id", TEXT, primary_key=True),
    Column("item_id", TEXT, primary_key=True),  # "" for the title
    text("words"),
    sqlite_with_rowid=False,
)

RESPONSES = Table(
    "responses",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    text("account"),
    text("key_id"),
    text("model"),
    text("status"),
    integer("created_at"),
    integer("completed_at", null=True),
    text("previous_response_id", null=True),
    text("conversation_id", null=True),
    integer("turn", default="0"),
    blob("body"),
    blob("usage", null=True),
    text("failure_code", null=True),
    text("failure_message", null=True),
    text("incomplete_reason", null=True),
    text("detail", null=True),
    integer("numbers_reserved", default="0"),
    blob("served", null=True),
    integer("cancel_requested", default="0"),  # by a process that does not run it
    integer("fence", default="0"),  # of its owner
    integer("takeovers", default="0"),
)
ALIVE = ("queued", "in_progress")
# With the words themselves: bound values, which no planner knows, would not match the index of the living.
IS_ALIVE = RESPONSES.c.status.in_([literal_column(f"'{status}'") for status in ALIVE])
_ALIVE = sql("status IN ('queued', 'in_progress')")
Index("responses_alive", RESPONSES.c.created_at, sqlite_where=_ALIVE, postgresql_where=_ALIVE)
WISHED = sql("cancel_requested = 1 AND status IN ('queued', 'in_progress')")
Index("responses_wished", RESPONSES.c.id, sqlite_where=WISHED, postgresql_where=WISHED)
_IN_A_CONVERSATION = sql("conversation_id IS NOT NULL")
Index(
    "responses_by_conversation",
    RESPONSES.c.conversation_id,
    RESPONSES.c.turn,
    sqlite_where=_IN_A_CONVERSATION,
    postgresql_where=_IN_A_CONVERSATION,
)

ITEMS = Table(
    "items",
    METADATA,
    Column("pk", BIG, primary_key=True, autoincrement=True),
    text("id"),
    *owned(),
    text("response_id", null=True),
    text("conversation_id", null=True),
    integer("turn", default="0"),
    text("direction"),  # input | output
    integer("position"),
    blob("body"),
)
Index("items_by_response", ITEMS.c.response_id, ITEMS.c.direction, ITEMS.c.position)
Index(
    "items_by_conversation",
    ITEMS.c.conversation_id,
    ITEMS.c.turn,
    ITEMS.c.pk,
    sqlite_where=_IN_A_CONVERSATION,
    postgresql_where=_IN_A_CONVERSATION,
)
Index(
    "items_once_in_conversation",
    ITEMS.c.conversation_id,
    ITEMS.c.id,
    unique=True,
    sqlite_where=_IN_A_CONVERSATION,
    postgresql_where=_IN_A_CONVERSATION,
)

STEERS = Table(
    "steers",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    text("response_id"),
    integer("position"),  # in the order of the commits, from 0
    text("lane"),  # "" for the unnamed one
    text("state"),  # queued | waiting | taken | joined | failed
    blob("body"),  # its items: a JSON array
    blob("given"),
    text("successor_id", null=True),
    text("failure", null=True),
)
Index("steers_by_response", STEERS.c.response_id, STEERS.c.position, unique=True)
_QUEUED = sql("state = 'queued'")
Index("steers_queued", STEERS.c.response_id, sqlite_where=_QUEUED, postgresql_where=_QUEUED)

LEDGER = Table(
    "ledger",
    METADATA,
    Column("id", TEXT, primary_key=True),
    *owned(),
    text("key_id"),
    text("response_id"),
    integer("attempt"),
    text("model"),  # the deployment, by its full name
    text("status"),  # started | settled
    integer("started_at"),
    integer("settled_at", null=True),
    integer("input_tokens", default="0"),
    integer("output_tokens", default="0"),
    integer("cached_tokens", default="0"),
    integer("cache_write_tokens", default="0"),
    integer("reasoning_tokens", default="0"),
    integer("estimated", default="0"),
    text("outcome", null=True),  # completed | incomplete | failed | cancelled | interrupted; null while started
    integer("cost_nano_usd", null=True),  # null where no price is known
    integer("fence", default="0"),  # of whoever makes the call
)
_OF_A_RESPONSE = sql("response_id <> id")  # a call that was made for none has its own id there
Index(
    "ledger_by_response",
    LEDGER.c.response_id,
    sqlite_where=_OF_A_RESPONSE,
    postgresql_where=_OF_A_RESPONSE,
)
IS_OPEN = LEDGER.c.status == literal_column("'started'")  # as IS_ALIVE, for the index of open calls
_STARTED = sql("status = 'started'")
Index("ledger_open", LEDGER.c.started_at, sqlite_where=_STARTED, postgresql_where=_STARTED)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("pk", BIG, primary_key=True, autoincrement=True),
    *owned(),
    text("key_id"),
    text("path"),
    text("key_hash", null=True),
    text("body_hash"),
    text("object_id"),
    integer("created_at"),
    integer("fence", default="0"),  # of whoever makes the answer; 0 once that has ended, and for all other objects
)
IS_OWNED = REQUESTS.c.fence > literal_column("0")  # as IS_ALIVE, for the index of what is being made
_OWNED = sql("fence > 0")
Index("requests_owned", REQUESTS.c.object_id, sqlite_where=_OWNED, postgresql_where=_OWNED)
_KEYED = sql("key_hash IS NOT NULL")
Index(
    "requests_by_key",
    REQUESTS.c.tenant,
    REQUESTS.c.owner,
    REQUESTS.c.path,
    REQUESTS.c.key_hash,
    unique=True,
    sqlite_where=_KEYED,
    postgresql_where=_KEYED,
)
Index(
    "requests_by_body",
    REQUESTS.c.key_id,
    REQUESTS.c.owner,
    REQUESTS.c.path,
    REQUESTS.c.body_hash,
    REQUESTS.c.created_at,
)
Index("requests_by_age", REQUESTS.c.created_at)
