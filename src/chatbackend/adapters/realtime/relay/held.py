"""What a client secret holds a session to: instructions and tools that its client can neither see nor change.

They are set on connecting, and again in whatever of the client's would replace them; what the provider shows of the
configuration is shown without them.
"""

from collections.abc import Sequence
from typing import Any

from chatbackend.adapters.realtime.frames import Event, as_list, as_object
from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.realtime import SessionKind, Terms

SEARCH = "chatbackend_file_search"  # its name at the provider
SETUP = "event_chatbackend_setup"
_SEARCH_TOOL: Event = {
    "type": "function",
    "name": SEARCH,
    "description": "Search the user's files. Call it before answering anything that the files may know.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What to look for, in full words."}},
        "required": ["query"],
        "additionalProperties": False,
    },
}
_GAP = "\n\n"


class Held:
    """The terms of one session, put into events of either dialect: both name these fields alike."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.shows_sources = terms.show_sources
        self.tools: Sequence[Event] = (_SEARCH_TOOL,) if terms.vector_stores else ()
        self.names = frozenset(tool["name"] for tool in self.tools)

    @property
    def acts(self) -> bool:
        """Whether anything of the client's has to be looked at."""
        return bool(self._terms.instructions or self.tools or self._terms.client_tools is not None)

    def setup(self, kind: SessionKind = "realtime") -> Event | None:
        """Return the update that a session begins with, in GA; None where there is nothing to set."""
        begun = self._terms.session
        if kind != "realtime":
            typed: Event = {"type": kind} if kind == "transcription" else {}  # a translation's update has no type
            return {"type": "session.update", "event_id": SETUP, "session": {**typed, **begun}} if begun else None
        if not begun and not self.acts:
            return None
        tools = [*self.tools, *(as_list(begun.get("tools")) or ())]
        session: Event = {"type": "realtime", **begun}
        if self._terms.instructions:
            session["instructions"] = self._with_ours(begun.get("instructions"))
        if tools:
            session["tools"] = tools
        return {"type": "session.update", "event_id": SETUP, "session": session}

    def checked(self, given: Event) -> Event:
        """Return a configuration of the client's, of the session or of one response, with ours put back in.

        The same object where nothing changes. Raises: InvalidRequest, Forbidden.
        """
        if self._terms.instructions and given.get("prompt") is not None:
            message = "The instructions of this session are set; a stored prompt would replace them."
            raise Forbidden(message, param="prompt", code="unsupported_parameter")
        changed: Event = {}
        if self._terms.instructions and "instructions" in given:
            changed["instructions"] = self._with_ours(given["instructions"])
        if "tools" in given:
            theirs = self._checked_tools(given["tools"])
            if self.tools:
                changed["tools"] = [*self.tools, *theirs]
        self._check_choice(given.get("tool_choice"))
        return {**given, **changed} if changed else given

    def shown(self, session: Event) -> Event:
        """Return a session's configuration without what is ours; the same object where nothing is."""
        changed: Event = {}
        instructions, tools = session.get("instructions"), as_list(session.get("tools"))
        if self._terms.instructions and isinstance(instructions, str):
            changed["instructions"] = instructions.removeprefix(self._terms.instructions).removeprefix(_GAP)
        if self.tools and tools is not None:
            changed["tools"] = [tool for tool in tools if (as_object(tool) or {}).get("name") not in self.names]
        return {**session, **changed} if changed else session

    def _with_ours(self, theirs: object) -> object:
        if theirs is None or theirs == "":
            return self._terms.instructions
        return f"{self._terms.instructions}{_GAP}{theirs}" if isinstance(theirs, str) else theirs

    def _checked_tools(self, given: object) -> list[Any]:
        tools = as_list(given)
        if tools is None:
            raise InvalidRequest("'tools' is a list.", param="tools")
        for tool in tools:
            self._check_tool(as_object(tool) or {})
        return tools

    def _check_tool(self, tool: Event) -> None:
        allowed, name = self._terms.client_tools, tool.get("name")
        if name in self.names:
            raise InvalidRequest(f"The name '{name}' is taken.", param="tools", code="tool_name_taken")
        if allowed is not None and (tool.get("type") != "function" or name not in allowed):
            raise Forbidden(f"The tool '{name}' is not allowed here.", param="tools", code="tool_not_allowed")

    def _check_choice(self, choice: object) -> None:
        name = (as_object(choice) or {}).get("name", choice)
        if isinstance(name, str) and name in self.names:
            raise InvalidRequest(f"There is no tool '{name}'.", param="tool_choice", code="tool_not_found")
