"""The dashboards of compose/grafana, and what they ask Prometheus for."""

from __future__ import annotations

import json
from typing import Any

from tests.compose.stack import COMPOSE

BOARDS: dict[str, dict[str, Any]] = {
    file.name: json.loads(file.read_text("utf-8")) for file in sorted((COMPOSE / "grafana" / "dashboards").iterdir())
}


def targets(board: dict[str, Any]) -> list[dict[str, str]]:
    return [target for panel in board["panels"] for target in panel.get("targets", [])]


EXPRESSIONS = [target["expr"] for board in BOARDS.values() for target in targets(board)]
