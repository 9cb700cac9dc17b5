"""The adapter for Dynamo over discovery by files: real files, as ai-dynamo 1.6.1 writes them."""

from __future__ import annotations

from tests.sinks.schedulers.dynamo.histories import Histories, as_tests
from tests.sinks.schedulers.dynamo.worlds import FileWorld


class FileHistories(Histories):
    def make_world(self, directory):
        return FileWorld(directory / "kv")


TestHistories = as_tests(FileHistories, 80)
