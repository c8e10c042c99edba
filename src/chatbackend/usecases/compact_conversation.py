"""Make a conversation short: a model writes down what must not be forgotten."""

from contextlib import aclosing
from dataclasses import dataclass, field

from chatbackend.domain.compaction import TASK, seal, transcript
from chatbackend.domain.errors import InvalidRequest, UpstreamError
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Compaction, InputText, Item, Message
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.responses import Response
from chatbackend.domain.usage import Usage
from chatbackend.usecases.generate import Generate, Generation
from chatbackend.usecases.ports import Clock, Models, NewId, Truth


@dataclass(slots=True)
class CompactAsk:
    """What is made short: the items behind a stored response, if one is named, and these.

    `instructions` add to the task.
    """

    model: str
    items: list[Item] = field(default_factory=list[Item])
    previous_response_id: str | None = None
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class Compacted:
    """The short form, who wrote it and what it cost."""

    id: str
    created_at: int
    item: Compaction
    usage: Usage
    generation: Generation


class CompactConversation:
    """Writes summaries; nothing is stored but the ledger's row."""

    def __init__(self, models: Models, generate: Generate, truth: Truth, *, clock: Clock, new_id: NewId) -> None:
        self._models = models
        self._generate = generate
        self._truth = truth
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, principal: Principal, ask: CompactAsk) -> Compacted:
        """Return the short form of a conversation.

        Raises: NotFound (model), InvalidRequest (nothing to make short, an unknown response, a model that only quotes),
        UpstreamError (and below).
        """
        self._refuse_quoting(ask.model)
        items = [*await self._before(principal, ask), *ask.items]
        if not items:
            raise InvalidRequest("There is nothing to compact: give input or previous_response_id.", param="input")
        told = Message(self._new_id("msg"), "user", [InputText(transcript(items))])
        instructions = "\n\n".join(filter(None, (TASK, ask.instructions)))
        generation = await self._generate(principal, ModelRequest(ask.model, [told], instructions))
        summary = await _text(generation)
        item = Compaction(self._new_id("cmp"), seal(summary))
        now = int(self._clock.now())
        return Compacted(self._new_id("resp"), now, item, generation.usage or Usage(), generation)

    def _refuse_quoting(self, model: str) -> None:
        route = self._models.route(model)
        deployments = [self._models.find(target.deployment) for target in route.targets]
        if not all(deployment.model.profile.follows_instructions for deployment in deployments):
            message = "This model writes no summaries: it only quotes files."
            raise InvalidRequest(message, param="model", code="unsupported_by_model")

    async def _before(self, principal: Principal, ask: CompactAsk) -> list[Item]:
        """Return what the named response knew and said."""
        previous = ask.previous_response_id
        if previous is None:
            return []
        if await self._truth.get(principal, previous) is None:
            message = f"Previous response with id '{previous}' not found."
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")
        asking = Response("", principal, ask.model, 0, previous_response_id=previous)
        return await self._truth.context(asking)


async def _text(generation: Generation) -> str:
    """Return the whole text. Raises: UpstreamError for a summary that is empty or broke off at a limit."""
    pieces: list[str] = []
    async with aclosing(generation.events()) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                pieces.append(event.text)
            elif isinstance(event, Finished) and event.reason != "stop":
                raise UpstreamError("The model did not finish its summary.", code="compaction_incomplete")
    text = "".join(pieces).strip()
    if not text:
        raise UpstreamError("The model wrote no summary.", code="compaction_incomplete")
    return text
