"""Where tickets go: the table `[tickets]` of the settings file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Place = Literal["file", "servicenow", "jira", "webhook", "alertmanager"]


class TicketSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """to: what keeps them; None: there are no tickets. enabled: make them; else only say what would be made.

    url: its address (of a webhook the whole one). directory: of files. state_dir: where we remember what was sent, one
    a fleet; None: beside the data of `run`, else /var/lib/gpu-vitals/tickets. user: with it the secret is a password,
    else a bearer token. secret_file: holds the secret; secret_env: else, the environment variable that does.
    ca_file: whom to trust instead of the machine's authorities. per_s: calls a second at most.
    close_code, fields: of ServiceNow: how resolved incidents are marked, and more fields of new ones.
    project, issue_type, priorities, close_transition, reopen_transition: of Jira. priorities: Jira's names for our 1 to
    4; none: the field is left alone.
    """

    enabled: bool = False
    to: Place | None = None
    url: str = ""
    directory: str = "tickets"
    state_dir: str | None = None
    user: str = ""
    secret_file: str | None = None
    secret_env: str = ""
    ca_file: str | None = None
    per_s: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 2.0
    close_code: str = "Solution provided"
    fields: dict[str, str] = {}
    project: str = ""
    issue_type: str = "Task"
    priorities: list[str] = []
    close_transition: str = ""
    reopen_transition: str = ""
