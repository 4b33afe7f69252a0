"""Keep one server alive exactly as long as its owner.

Run as a script (`python -I -S keeper.py …`), so it imports the standard library only.
The owner holds the other end of our stdin; a byte asks for the stop. However the owner goes,
SIGKILL included, the kernel closes that pipe and we stop the server too. Should the keeper
itself be killed, the kernel kills the server (PR_SET_PDEATHSIG; Linux only). The owner does
not ask for that signal by itself: it follows the death of the *thread* that started the
child, and owners use threads.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OWNER_CHECK_INTERVAL_S = 0.5


def main() -> int:
    arguments = parse(sys.argv[1:])
    # The owner decides when we go; a Ctrl-C in its terminal is its to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    owner = os.getppid()
    abandoned = True
    try:
        server = start(arguments.command, arguments.log, arguments.user)
        # The server's exit has to wake the select below.
        wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        print(server.pid, flush=True)
        abandoned = watch(server, owner, wakeup)
        return stop(server, signal.Signals[arguments.stop_signal], arguments.grace_s)
    finally:
        for folder in arguments.remove + (arguments.remove_abandoned if abandoned else []):
            shutil.rmtree(folder, ignore_errors=True)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--user", help="run the server as this user (only root can ask for it)")
    parser.add_argument("--remove", action="append", default=[], help="folder to delete at the end")
    parser.add_argument(
        "--remove-abandoned",
        action="append",
        default=[],
        help="folder to delete when the owner went without asking for the stop",
    )
    parser.add_argument("--stop-signal", default="SIGTERM")
    parser.add_argument("--grace-s", type=float, default=5.0)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def start(command: list[str], log: str, user: str | None) -> subprocess.Popen[bytes]:
    # Loaded before the fork: between fork and exec nothing may import or allocate much.
    libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    keeper = os.getpid()

    def die_with_keeper() -> None:
        # Runs after the change of user, which would clear the setting.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)

    with Path(log).open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user,
            group=primary_group(user),
            extra_groups=[] if user else None,
            preexec_fn=die_with_keeper,  # noqa: PLW1509 - the keeper has one thread
        )


def primary_group(user: str | None) -> int | None:
    if user is None:
        return None
    return pwd.getpwnam(user).pw_gid


def watch(server: subprocess.Popen[bytes], owner: int, wakeup: int) -> bool:
    """Wait for the owner's word or end, or the server's end; return whether the owner is gone."""
    while server.poll() is None:
        if os.getppid() != owner:
            return True
        readable, _, _ = select.select([0, wakeup], [], [], OWNER_CHECK_INTERVAL_S)
        if 0 in readable:
            return os.read(0, 1) == b""
        if wakeup in readable:
            os.read(wakeup, 64)
    return False


def stop(server: subprocess.Popen[bytes], number: signal.Signals, grace_s: float) -> int:
    if server.poll() is not None:
        return server.returncode
    # A server that someone paused (SIGSTOP) could not answer.
    server.send_signal(signal.SIGCONT)
    server.send_signal(number)
    try:
        return server.wait(grace_s)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


if __name__ == "__main__":
    sys.exit(main())
