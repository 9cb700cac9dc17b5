"""Redirections are not followed: a POST would become a GET, and others would be shown the token."""

from __future__ import annotations

from typing import Any
from urllib.request import HTTPRedirectHandler


class NoRedirect(HTTPRedirectHandler):
    """The answer 3xx comes as an error, like any other that is not 2xx."""

    def redirect_request(self, *args: Any) -> None:
        return None
