"""The server of the real Superset on loopback: one process of threads.

What belongs here: the socket, and being known by the endpoints file and by `/health`. What does not: making the
environment that this program runs in and starting it (`sandbox.superset_server`). Of the project it imports
`sandbox.endpoints` alone: the other modules need packages that are not here.

It serves one person, or a test. A Superset for many (workers, and a database for its metadata) is deployed by its own
means; the dashboards are imported there just as well.
"""

import argparse
import json
import os
import signal
import socket
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parents[1])]  # behind the packages: nothing of ours takes the place of one

from bootstrap import bootstrap  # noqa: E402
from flask import request  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

from sandbox import endpoints  # noqa: E402

HOST = "127.0.0.1"
BACKLOG = 128
ENDPOINT = "superset_url"


class Quiet(WSGIRequestHandler):
    """No line in the log for each of the hundred files of a page."""

    def log_request(self, *_):
        """Write nothing."""


def listen(port):
    """A listening socket: on `port`, or on a free one if that is taken."""
    try:
        return socket.create_server((HOST, port), backlog=BACKLOG)
    except OSError:
        return socket.create_server((HOST, 0), backlog=BACKLOG)


def sign(app, token):
    """Let `/health`, if Superset finds itself healthy, answer with the token and the process id too."""

    @app.after_request
    def signed(response):
        if request.path == "/health" and response.status_code == 200:  # noqa: PLR2004 - OK
            response.data = json.dumps({"token": token, "pid": os.getpid()})
            response.mimetype = "application/json"
        return response


def serve(arguments):
    """Serve until SIGTERM or SIGINT; the endpoints file names the server meanwhile."""

    def leave(*_):
        raise SystemExit

    home = Path(os.environ["SUPERSET_HOME"])
    app = bootstrap(home, arguments.user, (home / "admin_password").read_text().strip())
    sign(app, arguments.token)
    with listen(arguments.port) as listener:
        host, port = listener.getsockname()
        server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=listener.fileno())
        address = {ENDPOINT: f"http://{host}:{port}"}
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        try:
            endpoints.publish(arguments.endpoints, address)
            server.serve_forever()
        finally:
            endpoints.withdraw(arguments.endpoints, address)


def main():
    """Command line: `python serve.py --endpoints F --user U [--port N] [--token T]`, with SUPERSET_HOME set."""
    parser = argparse.ArgumentParser(description="Serve Superset on loopback until interrupted.")
    parser.add_argument("--endpoints", type=Path, required=True, help="the sandbox's endpoints file")
    parser.add_argument("--user", required=True, help="the administrator; the password is in SUPERSET_HOME")
    parser.add_argument("--port", type=int, default=0, help="TCP port; a free one by default, or if it is taken")
    parser.add_argument("--token", default="", help="what /health answers with")
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
