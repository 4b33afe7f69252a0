"""Bundles with a stand-in for camp inside: a small server that starts in 0.1 s and misbehaves."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from controlplane.adapters.process import bundle
from controlplane.domain.model import Release

STAND_IN = """
import http.server, json, os, signal, sys, time
BEHAVIOUR = json.loads({behaviour!r})
ANSWER = {{"version": {version!r}, "digest": os.environ["CAMP_DIGEST"],
          "config_hash": os.environ["CAMP_CONFIG_HASH"],
          "instance": os.environ["CAMP_INSTANCE"], "streams": 0, "requests": 0}}
STATE = {{"drained": False}}

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = not STATE["drained"] and BEHAVIOUR.get("ready", True)
        status = "draining" if STATE["drained"] else "ready" if ready else "unready"
        reason = {{"draining": "draining", "unready": "has no model"}}.get(status)
        streams = BEHAVIOUR.get("streams", 0)
        if self.path == "/health/live" and not BEHAVIOUR.get("live", True):
            ready = False
        told = {{"status": status, "streams": streams, "reason": reason}}
        self.say(200 if ready else 503, {{**ANSWER, **told}})

    def do_POST(self):
        STATE["drained"] = True
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say(202, {{}})

    def say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass

def serve(host, port):
    # As process 1 of a container it would ignore the signal unless it says otherwise.
    deaf = BEHAVIOUR.get("ignores_sigterm")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else lambda *_: os._exit(0))
    print("serving", {version!r}, flush=True)
    if "crash" in BEHAVIOUR:
        sys.exit("crashed: " + BEHAVIOUR["crash"])
    http.server.ThreadingHTTPServer((host, port), Answers).serve_forever()

def job(arguments):
    print("ran", *arguments, flush=True)
    time.sleep(BEHAVIOUR.get("job_s", 0))
    code = "smoke_code" if arguments[0] == "smoke" else "job_code"
    sys.exit(BEHAVIOUR.get(code, 0))

if sys.argv[1] == "serve":
    serve(sys.argv[3], int(sys.argv[5]))
else:
    job(sys.argv[1:])
"""


def stand_in(folder: Path, version: str = "1.0.0", **behaviour: object) -> Release:
    """A bundle in `folder` and the release that it is.

    Behaviour: `ready` and `live` (bool; edges go by the latter), `streams` (int), `crash` (last
    words), `ignores_sigterm` (bool), `job_s` (seconds), `job_code` and `smoke_code` (exit codes of
    one-shot runs, and of checks).
    """
    files = {"camp/__init__.py": "", "camp/__main__.py": program(version, **behaviour)}
    return bundle_of(folder, version, files)


def program(version: str, **behaviour: object) -> str:
    """The stand-in's only file."""
    return STAND_IN.format(behaviour=json.dumps(behaviour), version=version)


def bundle_of(folder: Path, version: str, files: dict[str, str]) -> Release:
    """A bundle whose wheel holds these files."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"camp-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    made = folder / f"camp-{version}.zip"
    manifest = bundle.Manifest(
        version=version, revision="abc", schema_head="0002", schema_min="0001", config_hash="cfg"
    )
    bundle.write(wheel, manifest, made)
    wheel.unlink()
    return bundle.read(made)
