"""Ask this container's own instance whether it answers; slim images have no curl.

Run as `python -I -S healthcheck.py`: without site packages it takes a fraction of the time, and
it runs every few seconds.
"""

import http.client
import os
import sys

TIMEOUT_S = 2.0
# Who listens everywhere is asked over loopback.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """0 when the instance answers, else 1 and a line that `docker inspect` shows."""
    host, port = os.environ.get("HOST") or "0.0.0.0", int(os.environ.get("PORT") or 8000)
    connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"Port {port} does not answer: {error}")
        return 1
    print(f"Port {port} answers {status}.")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
