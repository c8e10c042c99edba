"""A request without what its model does not take and a server may leave out."""

from dataclasses import fields, replace
from typing import Any

from chatbackend.adapters.providers.codec import unsupported
from chatbackend.domain.fitting import named, refuse_fields, refused
from chatbackend.domain.models import ModelProfile, ModelRequest

OPENING = "(You begin.)"  # stands for the user where the model spoke first: a greeting, or a conversation cut short
_FIELDS = frozenset(field.name for field in fields(ModelRequest))


def fitted(request: ModelRequest, profile: ModelProfile) -> ModelRequest:
    """Return the request without the fields that this model does not take.

    Raises: InvalidRequest naming one that may not be left out.
    """
    if request.prefilled and not profile.accepts_prefill:
        raise unsupported("the beginning of its answer", param=named(request, "items"))
    refuse_fields(request, profile)
    left_out = {name for name, _ in refused(request, profile)} | profile.refuses & request.hints.keys()
    if not left_out:
        return request
    ours: dict[str, Any] = {name: None for name in left_out & _FIELDS}
    extra = {name: value for name, value in request.extra.items() if name not in left_out}
    hints = {name: value for name, value in request.hints.items() if name not in left_out}
    return replace(request, extra=extra, hints=hints, **ours)


def speaking(profile: ModelProfile, *unsaid: str) -> ModelProfile:
    """Return the facts about a model that is spoken to in a dialect which has no words for these fields."""
    return replace(profile, refuses=profile.refuses | frozenset(unsaid))
