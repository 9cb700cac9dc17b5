"""Ticket systems over real HTTP, as their public documentation says that they behave. For the tests beside this."""

from __future__ import annotations

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server:
    """asked: (method, path, headers, body) of each request. script: answers for the next ones: (status, headers, body).

    `answer(method, path, query, body)` returns (status, body), or raises KeyError: 404.
    """

    def __init__(self, certificate=None):
        self.asked = []
        self.script = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                server.asked.append((self.command, self.path, dict(self.headers), raw))
                headers = {}
                if server.script and (scripted := server.script.pop(0)):
                    status, headers, body = scripted
                elif not server.allowed(self.headers):
                    status, body = 401, {"error": {"message": "User Not Authenticated"}}
                else:
                    try:
                        status, body = server.answer(self.command, parts.path, query, json.loads(raw) if raw else None)
                    except KeyError:
                        status, body = 404, {"error": {"message": "No Record found"}}
                content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            self.http.handle_error = lambda *args: None  # who does not trust us hangs up
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def allowed(self, headers):
        return True

    def answer(self, method, path, query, body):
        return 204, None

    def said(self):
        return [f"{method} {urlsplit(path).path}" for method, path, *_ in self.asked]

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class ServiceNowServer(Server):
    """Table API. records: sys_id -> fields, as text, as the API returns them."""

    LIMITS = {"short_description": 160, "description": 4000, "correlation_id": 100}

    def __init__(self):
        self.records = {}
        super().__init__()

    def allowed(self, headers):
        return headers.get("Authorization") == "Basic Z3B1OnMzY3JldA=="  # gpu:s3cret

    def answer(self, method, path, query, body):
        table, _, sys_id = path.removeprefix("/api/now/table/").partition("/")
        if table != "incident":
            return 400, {"error": {"message": f"Invalid table {table}", "detail": None}, "status": "failure"}
        if method == "POST":
            sys_id = f"{len(self.records):032x}"
            self.records[sys_id] = {"sys_id": sys_id, "state": "1"}
            return self._set(201, sys_id, body)
        if method == "PATCH":
            record = self.records[sys_id]
            if body.get("state") == "6" and not (body.get("close_code") and body.get("close_notes")):
                return 403, {"error": {"message": "Operation Failed", "detail": "Data Policy Exception: Close code"}}
            if record["state"] == "7":
                return 403, {"error": {"message": "Operation Failed", "detail": "closed for good"}}
            return self._set(200, sys_id, body)
        if sys_id:
            return 200, {"result": self._shown(self.records[sys_id], query)}
        wanted = [term.split("=", 1) for term in query["sysparm_query"].split("^") if "=" in term]
        found = [each for each in self.records.values() if all(each.get(name) == value for name, value in wanted)]
        offset = int(query.get("sysparm_offset", 0))
        page = found[offset : offset + int(query.get("sysparm_limit", 10_000))]
        return 200, {"result": [self._shown(each, query) for each in page]}

    def _set(self, status, sys_id, body):
        assert all(isinstance(value, str) for value in body.values())
        self.records[sys_id] |= {name: value[: self.LIMITS.get(name, 10_000)] for name, value in body.items()}
        return status, {"result": self.records[sys_id]}

    def _shown(self, record, query):
        names = query["sysparm_fields"].split(",")
        return {name: record.get(name, "") for name in names}


class JiraServer(Server):
    """REST v3. issues: key -> fields. unseen: how many of the newest the search does not see yet. empty_pages: before
    a page with anything on it.
    """

    STATUSES = {"To Do": "new", "In Progress": "indeterminate", "Done": "done"}
    MOVES = {"To Do": ["In Progress", "Done"], "In Progress": ["To Do", "Done"], "Done": ["To Do"]}

    def __init__(self):
        self.issues = {}
        self.unseen = 0
        self.empty_pages = 0
        super().__init__()

    def allowed(self, headers):
        return headers.get("Authorization") == "Basic Z3B1OnMzY3JldA=="

    def answer(self, method, path, query, body):
        path = path.removeprefix("/rest/api/3/")
        if path == "search/jql":
            return 200, self._search(query)
        if path == "issue":
            return self._create(body["fields"])
        key, _, more = path.removeprefix("issue/").partition("/")
        issue = self.issues[key]
        if more == "transitions":
            return self._transitions(method, issue, body)
        if method == "PUT":
            problem = self._problem(body["fields"])
            if problem:
                return 400, problem
            issue |= body["fields"]
            return 204, None
        return 200, {"key": key, "fields": {"status": self._status(issue["status"])}}

    def _search(self, query):
        (label,) = re.findall(r'labels = "([^"]+)"', query["jql"])
        assert 'project = "OPS"' in query["jql"]
        assert "ORDER BY created ASC" in query["jql"]
        seen = list(self.issues.items())[: len(self.issues) - self.unseen]
        found = [
            {"key": key, "fields": {"status": self._status(issue["status"])}}
            for key, issue in seen
            if label in issue["labels"]
        ]
        at = int(query.get("nextPageToken", 0))
        if at < self.empty_pages:
            return {"issues": [], "isLast": False, "nextPageToken": str(at + 1)}
        return {"issues": found[: int(query["maxResults"])], "isLast": True}

    def _create(self, fields):
        problem = self._problem(fields)
        if problem or fields["project"]["key"] != "OPS":
            return 400, problem or {"errorMessages": [], "errors": {"project": "valid project is required"}}
        key = f"OPS-{len(self.issues) + 1}"
        self.issues[key] = {**fields, "status": "To Do"}
        return 201, {"id": "1", "key": key, "self": ""}

    def _problem(self, fields):
        """What Jira refuses with 400."""
        doc = fields["description"]
        errors = {}
        if len(fields["summary"]) > 255 or "\n" in fields["summary"]:
            errors["summary"] = "The summary is invalid because it contains newline characters, or is too long."
        if not isinstance(doc, dict) or doc.get("type") != "doc" or doc.get("version") != 1:
            errors["description"] = "Operation value must be an Atlassian Document"
        if any(" " in label for label in fields.get("labels", [])):
            errors["labels"] = "The label contains spaces which is invalid."
        if "priority" in fields and fields["priority"]["name"] not in ("Highest", "High", "Medium", "Low", "Lowest"):
            errors["priority"] = "The priority selected is invalid."
        return {"errorMessages": [], "errors": errors} if errors else None

    def _transitions(self, method, issue, body):
        names = list(self.STATUSES)
        offered = self.MOVES[issue["status"]]
        if method == "GET":
            listed = [{"id": str(names.index(to)), "name": f"Go {to}", "to": self._status(to)} for to in offered]
            return 200, {"transitions": listed}
        to = names[int(body["transition"]["id"])]
        if to not in offered:
            return 400, {"errorMessages": [f"It seems that you have tried to perform an illegal operation: {to}"]}
        issue["status"] = to
        return 204, None

    def _status(self, name):
        return {"name": name, "statusCategory": {"key": self.STATUSES[name]}}
