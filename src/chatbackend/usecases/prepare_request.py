"""Shape a request for one model: files in it resolved, passages put where the model reads them."""

from collections.abc import Sequence
from dataclasses import replace

from chatbackend.domain.compaction import expanded
from chatbackend.domain.context import fitting, grounded
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.fitting import refuse_fields
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Compaction, InputFile, InputImage, InputText, Item, Message, Part
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import Ask
from chatbackend.usecases.ports import Attachments, Deployment


def refuse_unsupported(request: Ask | ModelRequest, profile: ModelProfile) -> None:
    """Refuse, before anything is committed, what this model cannot take. Raises: InvalidRequest."""
    if request.tools and not profile.accepts_tools:
        raise _unsupported("function tools", "tools")
    refuse_fields(request, profile)
    for item in request.items:
        for part in item.content if isinstance(item, Message) else ():
            if isinstance(part, InputImage) and not profile.accepts_images:
                raise _unsupported("images", "input")
            if isinstance(part, InputFile) and part.file_id is None and not profile.accepts_files:
                raise _unsupported("inline files; upload the file and send its file_id", "input")


def refuse_if_none_takes(request: Ask | ModelRequest, deployments: Sequence[Deployment]) -> None:
    """Refuse what none of these takes. Raises: InvalidRequest, as the first of them refuses it."""
    refusals: list[InvalidRequest] = []
    for deployment in deployments:
        try:
            refuse_unsupported(request, deployment.model.profile)
        except InvalidRequest as error:
            refusals.append(error)
        else:
            return
    raise refusals[0]


def _unsupported(what: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"This model takes no {what}.", param=param, code="unsupported_by_model")


class PrepareRequest:
    """Makes the `ModelRequest` of one upstream call."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments

    async def __call__(
        self, ask: Ask, principal: Principal, *, items: list[Item], passages: list[Passage], deployment: Deployment
    ) -> ModelRequest:
        """Return the request. Raises: InvalidRequest for what this model cannot take, NotFound for a file."""
        profile = deployment.model.profile
        request = ModelRequest(
            model=ask.model,
            items=items,
            instructions=ask.instructions,
            tools=ask.tools,
            tool_choice=ask.tool_choice,
            parallel_tool_calls=ask.parallel_tool_calls,
            temperature=ask.temperature,
            top_p=ask.top_p,
            max_output_tokens=ask.max_output_tokens,
            top_logprobs=ask.top_logprobs,
            text_format=ask.text_format,
            reasoning_effort=ask.reasoning_effort,
            reasoning_summary=ask.reasoning_summary,
            verbosity=ask.verbosity,
            user=ask.user,
            passages=passages,
            extra=ask.extra,
            hints=ask.hints,
            background=ask.background and profile.keeps_background,
            keeps=len(ask.items) if ask.truncation == "auto" else None,
            extra_dialect="responses",
        )
        return await self.shaped(request, principal, deployment)

    async def shaped(self, request: ModelRequest, principal: Principal, deployment: Deployment) -> ModelRequest:
        """Return a request as this deployment takes it: named as there, what has room, files resolved, passages told.

        Raises: InvalidRequest for what this model cannot take, NotFound for a file.
        """
        profile = deployment.model.profile
        request = replace(
            request,
            model=deployment.upstream_name,
            items=_that_fit(request, profile),
            instructions=_instructions(request, profile),
        )
        # once more, where answers are kept: a name may stand for another model now
        refuse_unsupported(request, profile)
        request.items = [await self._resolved(item, principal, profile) for item in request.items]
        return request

    async def _resolved(self, item: Item, principal: Principal, profile: ModelProfile) -> Item:
        if isinstance(item, Compaction):
            return expanded(item)
        if not isinstance(item, Message) or not any(isinstance(part, InputImage | InputFile) for part in item.content):
            return item
        parts = [await self._part(part, principal, profile) for part in item.content]
        return Message(item.id, item.role, parts, item.status)

    async def _part(self, part: Part, principal: Principal, profile: ModelProfile) -> Part:
        match part:
            case InputImage(file_id=str(file_id), detail=detail):
                _, url = await self._attachments.data_url(principal, file_id)
                return InputImage(url, detail=detail)
            case InputFile(file_id=str(file_id)) if profile.accepts_files:
                filename, url = await self._attachments.data_url(principal, file_id)
                return InputFile(filename=filename, file_data=url)
            case InputFile(file_id=str(file_id)):
                filename, text = await self._attachments.text(principal, file_id)
                return InputText(f"File {filename}:\n{text}")
            case _:
                return part


def _that_fit(request: ModelRequest, profile: ModelProfile) -> list[Item]:
    if request.keeps is None:
        return request.items
    room = profile.context_window - (request.max_output_tokens or profile.max_output_tokens)
    return fitting(request.items, keep=request.keeps, max_tokens=max(room, 1))


def _instructions(request: ModelRequest, profile: ModelProfile) -> str | None:
    return grounded(request.instructions, request.passages) if profile.reads_passages else request.instructions
