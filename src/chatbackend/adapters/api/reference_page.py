"""`/docs`: the OpenAPI and AsyncAPI documents as one page, without scripts or anything from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

from chatbackend.adapters.api.schemas import PREFIX, Schema

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--back:#fff;--card:#f6f8fa;--link:#0757b8}
@media(prefers-color-scheme:dark){
:root{--ink:#e6edf3;--soft:#9aa4af;--line:#3a424c;--back:#0d1117;--card:#161b22;--link:#6cb2ff}}
*{box-sizing:border-box}html{scroll-padding-top:1rem}
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back)}
a{color:var(--link)}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}td code{overflow-wrap:break-word}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem}
.all{display:grid;grid-template-columns:15rem minmax(0,54rem);gap:2rem;padding:1rem 1.5rem}
nav{position:sticky;top:1rem;align-self:start;max-height:95vh;overflow:auto}nav ul{list-style:none;padding:0;margin:0}
nav a{display:block;padding:.25rem 0}
@media(max-width:50rem){.all{grid-template-columns:minmax(0,1fr)}nav{position:static;max-height:none}}
details{border:1px solid var(--line);border-radius:6px;margin:.4rem 0;background:var(--card)}
summary{padding:.5rem .75rem;cursor:pointer;border-radius:6px}details>div{padding:0 .75rem .75rem}
summary b{display:inline-block;min-width:4.2rem;font:600 .85em ui-monospace,monospace}
summary span{color:var(--soft)}h4{margin:.8rem 0 .2rem;font-size:.95rem}
table{border-collapse:collapse;width:100%}
td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-top:1px solid var(--line)}
td:last-child{color:var(--soft)}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_SHOWN = ("default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")


def page(http: Mapping[str, Any], sockets: Mapping[str, Any]) -> str:
    """Return the page for both documents."""
    found = _operations(http)
    tags = [each["name"] for each in http["tags"]]
    sections = [(tag, "".join(body for its, body in found if its == tag)) for tag in tags]
    sections.append(("WebSocket", _sockets(sockets)))
    sections.append(("Schemas", _schemas(http["components"]["schemas"])))
    info = http["info"]
    links = "".join(f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name, _ in sections)
    main = "".join(
        f'<section aria-labelledby="{_anchor(name)}"><h2 id="{_anchor(name)}">{escape(name)}</h2>{body}</section>'
        for name, body in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])}: API reference</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#main">Skip to the reference</a><div class="all"><nav aria-label="Sections"><ul>'
        f'{links}<li><a href="/openapi.json">openapi.json</a></li><li><a href="/asyncapi.json">asyncapi.json</a></li>'
        '<li><a href="/llms.txt">llms.txt</a></li></ul></nav>'
        f'<main id="main"><h1>{escape(info["title"])} <small>{escape(info["version"])}</small></h1>'
        f"<p>{_prose(info['description'])}</p>{_credentials(http)}{main}</main></div></body></html>"
    )


def _credentials(http: Mapping[str, Any]) -> str:
    found = http["components"]["securitySchemes"].values()
    shown = [f"<code>{escape(each.get('name', 'Authorization: Bearer'))}</code>" for each in found]
    return (
        f"<p>Credentials: an API key in one of {', '.join(shown)}. <code>chatbackend keys create</code> makes one.</p>"
    )


def _operations(http: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the tag and the HTML of every operation."""
    shared = http["components"]["parameters"]
    return [
        (operation["tags"][0], _operation(method.upper(), path, operation, shared))
        for path, methods in http["paths"].items()
        for method, operation in methods.items()
    ]


def _operation(method: str, path: str, operation: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    parameters = [
        shared[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in operation["parameters"]
    ]
    rows = [_row(each["name"], each["schema"], f"{each['in']}. {each.get('description', '')}") for each in parameters]
    body = "".join(
        f"<h4>Body, {escape(media)}</h4>{_shape(content['schema'])}"
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    return _card(
        f"<b>{method}</b><code>{escape(path)}</code> <span>{_prose(operation['summary'])}</span>",
        (f"<p>{_prose(operation['description'])}</p>" if "description" in operation else "")
        + ("<p>Needs no credential.</p>" if operation.get("security") == [] else "")
        + (f"<h4>Parameters</h4><table>{''.join(rows)}</table>" if rows else "")
        + body
        + _answers(operation["responses"]),
    )


def _answers(responses: Mapping[str, Any]) -> str:
    rows: list[str] = []
    for status, answer in responses.items():
        if "$ref" in answer:
            continue
        for media, content in answer["content"].items():
            schema = content["schema"]
            what = answer["description"] if status != "200" else schema.get("description", "")
            rows.append(f"<tr><td>{status}</td><td>{escape(media)}</td><td>{_type(schema)} {_prose(what)}</td></tr>")
    return f"<h4>Answers</h4><table>{''.join(rows)}</table>"


def _sockets(document: Mapping[str, Any]) -> str:
    messages = document["components"]["messages"]
    parts = [f"<p><code>WS /v1/responses</code>. {_prose(document['info']['description'])}</p>"]
    realtime = document["channels"]["realtime"]
    about = f"<p><code>WS {realtime['address']}</code>. {_prose(realtime['description'])}</p>"
    for title, name in (
        ("Commands", "command"),
        ("Events", "event"),
        ("Realtime: commands", "realtime_command"),
        ("Realtime: events", "realtime_event"),
    ):
        parts.append(f"{about if name == 'realtime_command' else ''}<h3>{title}</h3>")
        for each in document["operations"][name]["messages"]:
            message = messages[each["$ref"].rpartition("/")[2]]
            head = f"<code>{escape(message['name'])}</code> <span>{_prose(message.get('summary', ''))}</span>"
            parts.append(_card(head, _shape(message["payload"])))
    return "".join(parts)


def _schemas(schemas: Mapping[str, Schema]) -> str:
    return "".join(
        _card(f"<code>{escape(name)}</code>", f'<div id="{_anchor(name)}">{_shape(schema)}</div>')
        for name, schema in sorted(schemas.items())
    )


def _shape(schema: Schema) -> str:
    """Show an object as a table of its properties, anything else as a type."""
    if "allOf" in schema:
        return "".join(_shape(each) for each in schema["allOf"])
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>"
    required = schema.get("required", [])
    rows = [
        _row(name, each, "required" if name in required and "const" not in each else "")
        for name, each in schema["properties"].items()
    ]
    about = f"<p>{_prose(schema['description'])}</p>" if "description" in schema else ""
    return f"{about}<table>{''.join(rows)}</table>"


def _row(name: str, schema: Schema, more: str) -> str:
    bounds = [f"{key} {schema[key]}" for key in _SHOWN if schema.get(key) is not None]
    about = " ".join(part for part in (more, schema.get("description", ""), ", ".join(bounds)) if part)
    return f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td><td>{_prose(about)}</td></tr>"


def _type(schema: Schema) -> str:
    """Word a schema as a type, with links to the named ones."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(PREFIX)
        return f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    for combined in ("anyOf", "allOf"):
        if combined in schema:
            return " or ".join(_type(each) for each in schema[combined])
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    found = schema.get("type", "anything")
    return escape(found if isinstance(found, str) else " or ".join(found))


def _card(head: str, body: str) -> str:
    return f"<details><summary>{head}</summary><div>{body}</div></details>"


def _prose(text: str) -> str:
    """Escape a text; what stands in backticks becomes code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _anchor(name: str) -> str:
    return "s-" + name.replace(" ", "-")
