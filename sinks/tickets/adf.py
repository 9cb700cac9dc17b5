"""A ticket in Atlassian's document format, which Jira's REST API (v3) wants descriptions in.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/
"""

from __future__ import annotations

from typing import Any

from sinks.tickets.text import CUT, sections
from sinks.tickets.ticket import Ticket

Node = dict[str, Any]


def document(ticket: Ticket, characters_max: int) -> Node:
    """A heading and a block of lines for each section; what does not fit is left out, and said."""
    content: list[Node] = []
    left = characters_max - len(CUT)
    for title, lines in sections(ticket):
        text = "\n".join(lines)
        if len(text) > left:
            content.append({"type": "paragraph", "content": [_text(CUT)]})
            break
        left -= len(text) + len(title)
        content.append({"type": "heading", "attrs": {"level": 3}, "content": [_text(title)]})
        if text:  # an empty text node is no valid one
            content.append({"type": "codeBlock", "attrs": {}, "content": [_text(text)]})
    return {"type": "doc", "version": 1, "content": content}


def _text(text: str) -> Node:
    return {"type": "text", "text": text}
