"""What tests read of the files that trackers write offline, without the trackers' own code where it is simple."""

import json
import socket
import sqlite3
import struct
import threading
from contextlib import contextmanager


def tensorboard_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def mlflow_metrics(database, run):
    """Steps and values by the key of a metric, as they were written."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select key, step, value from metrics where run_uuid = ?", (run,)).fetchall()
    found = {}
    for key, step, value in sorted(rows):
        found.setdefault(key, []).append((step, value))
    return found


def wandb_records(path):
    """The records of an offline run: LevelDB's log of protocol buffers, behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        # No record begins in the last bytes of a block of 32 KiB.
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if kind == 0:
            break
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def wandb_rows(path):
    """The rows of the curves of an offline run, each as a dict."""
    for record in wandb_records(path):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}


@contextmanager
def counted_connections(monkeypatch):
    """Name a proxy in the environment, and yield a list that grows with every connection to it."""
    connections, server = [], socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                connections.append(server.accept())
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
    yield connections
    server.close()
