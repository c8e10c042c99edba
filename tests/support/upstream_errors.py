"""The words in which each vendor refuses: error bodies by status, and the one for a prompt that is too long.

Source: the error pages of the OpenAI, Azure OpenAI and Anthropic APIs, and answers that users of Perplexity, vLLM and
llama.cpp published.
"""

from tests.support.upstream_asked import Json

_OPENAI = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_PERPLEXITY = {400: "bad_request", 401: "unauthorized", 429: "rate_limit_exceeded"}


def openai(status: int) -> Json:
    """Return the body of OpenAI's error with that status."""
    kind, code = _OPENAI.get(status, ("server_error", None))
    return _openai(f"scripted {status}", kind, code)


def openai_too_long(param: str) -> Json:
    """Return what Chat Completions (`messages`) or Responses (`input`) says of a prompt that is too long."""
    words = {
        "messages": "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 "
        "tokens. Please reduce the length of the messages.",
        "input": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    }
    return _openai(words[param], "invalid_request_error", "context_length_exceeded", param)


def openai_blocked() -> Json:
    """Return the refusal of a prompt by OpenAI's policy."""
    words = "Your request was flagged as potentially violating our usage policy."
    return _openai(words, "invalid_request_error", "invalid_prompt")


def azure(status: int) -> Json:
    """Return the body of Azure's error with that status; its gateway says less than its model servers."""
    words = {401: "PermissionDenied", 404: "DeploymentNotFound", 429: "RateLimitReached"}
    if status in words:
        return {"error": {"code": words[status] if status == 404 else str(status), "message": f"scripted {status}"}}
    return openai(status)


def azure_too_long(param: str) -> Json:
    """Return what Azure says of a prompt that is too long."""
    words = (
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens. Please "
        "reduce the length of the messages."
    )
    return _openai(words, "invalid_request_error", "context_length_exceeded", param)


def azure_blocked() -> Json:
    """Return the refusal of a prompt by Azure's content filter."""
    result = {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}}
    error: Json = {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result},
    }
    return {"error": error}


def anthropic(status: int) -> Json:
    """Return the body of Anthropic's error with that status; the same inside a stream."""
    return _anthropic(_ANTHROPIC.get(status, "api_error"), f"scripted {status}")


def anthropic_too_long() -> Json:
    """Return what Anthropic says of a prompt that is too long."""
    return _anthropic("invalid_request_error", "prompt is too long: 200251 tokens > 200000 maximum")


def anthropic_blocked() -> Json:
    """Return the refusal of a prompt by Anthropic's content filter."""
    return _anthropic("invalid_request_error", "Output blocked by content filtering policy")


def perplexity(status: int, words: str = "", kind: str = "") -> Json:
    """Return the body of Perplexity's error: its code is the status, a number."""
    named = kind or _PERPLEXITY.get(status, "internal_error")
    return {"error": {"message": words or f"scripted {status}", "type": named, "code": status}}


def llama_cpp_too_long() -> Json:
    """Return what llama.cpp's server says of a prompt that is too long."""
    words = "the request exceeds the available context size, try increasing it"
    counts = {"n_prompt_tokens": 14429, "n_ctx": 8192}
    return {"error": {"code": 400, "message": words, "type": "exceed_context_size_error"} | counts}


def vllm_too_long() -> Json:
    """Return what an older vLLM, which has no envelope, says of a prompt that is too long."""
    words = (
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens in the messages. "
        "Please reduce the length of the messages."
    )
    return {"object": "error", "message": words, "type": "BadRequestError", "param": None, "code": 400}


def _openai(message: str, kind: str, code: str | None, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _anthropic(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}
