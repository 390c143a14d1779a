"""Prometheus's blocks, and a Prometheus that reads them."""

import contextlib
import json
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from .traffic import BEGIN, DAY, END, MINUTES, Series

TARGET = {"job": "delivery", "instance": "exporter-0:9847"}
# Before the last 26 hours a sample each ten minutes is enough for hourly increases.
DENSE = 26 * 60


def head(name: str, labels: dict[str, str]) -> str:
    """A series as OpenMetrics names it."""
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inner}}}"


def import_text(data: pathlib.Path, lines: list[str]) -> None:
    """Makes blocks of samples."""
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "samples.om"
        with open(file, "w") as out:
            out.writelines(lines)
            out.write("# EOF\n")
        # One block of a few weeks: promtool reads the whole file once for each block.
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=486h", "--quiet", str(file), str(data)],
            check=True, stdout=subprocess.DEVNULL,
        )


def import_series(data: pathlib.Path, series: Series) -> None:
    """Imports what an exporter would have shown."""
    lines = []
    dense = np.arange(MINUTES - DENSE, MINUTES + 1)
    grid = np.concatenate([np.arange(0, MINUTES - DENSE, 10), dense])
    for (name, labels), increments in series.counters.items():
        total = np.concatenate([[0.0], np.cumsum(increments)])
        steps = grid[grid >= MINUTES - 8 * DAY] if (name, labels) in series.recent else grid
        text = head(name, TARGET | dict(labels))
        whole = np.mod(increments, 1).any()
        values = total[steps]
        stamps = BEGIN + steps * 60
        lines += [f"{text} {value:.4f} {stamp}\n" if whole else f"{text} {value:.0f} {stamp}\n" for value, stamp in zip(values, stamps)]
    for (name, labels), values in series.gauges.items():
        text = head(name, TARGET | dict(labels))
        # Timestamps lose their meaning in few digits.
        lines += [
            f"{text} {value:.12g} {END - (DAY - step) * 60}\n"
            for step, value in enumerate(values) if step % (1 if name == "up" else 2) == 0 and not np.isnan(value)
        ]
    import_text(data, lines)


@contextlib.contextmanager
def prometheus(data: pathlib.Path):
    """A Prometheus on a data directory; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "prometheus.yml"
        config.write_text("global: {}\n")
        running = subprocess.Popen(
            [
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
                # What is recorded each five minutes must not be seen a step later: imported series have no end markers.
                "--query.lookback-delta=299s",
            ],
        )
        base = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    if urllib.request.urlopen(f"{base}/-/ready", timeout=5).status == 200:
                        break
                if running.poll() is not None:
                    raise RuntimeError("prometheus ended")
                time.sleep(0.1)
            yield base
        finally:
            running.terminate()
            running.wait()


def query_range(base: str, expression: str, start: int, end: int, step: int) -> list[dict]:
    """A range query's series."""
    form = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": step}).encode()
    with urllib.request.urlopen(f"{base}/api/v1/query_range", form, timeout=120) as answer:
        return json.load(answer)["data"]["result"]
