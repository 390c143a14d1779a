"""An OTLP sink over HTTP that is not the exporter's code: it decodes with the official protobuf
definitions, and translates to Prometheus with the OpenTelemetry project's own Prometheus exporter.

POST /v1/metrics        takes metrics
GET  /translated        everything of the newest push, as Prometheus text
GET  /points            every data point ever received, as JSON lines
Prints its port.
"""

import gzip
import http.server
import json
import threading

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, generate_latest

lock = threading.Lock()
received = []


def read(request):
    for resource_metrics in request.resource_metrics:
        resource = {a.key: a.value.string_value for a in resource_metrics.resource.attributes}
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                for point in data.data_points:
                    line = {
                        "resource": resource,
                        "name": metric.name,
                        "unit": metric.unit,
                        "description": metric.description,
                        "kind": kind,
                        "attributes": {a.key: a.value.string_value for a in point.attributes},
                        "time": point.time_unix_nano,
                        "start": point.start_time_unix_nano,
                        "no_value": bool(point.flags & 1),
                    }
                    if kind == "sum":
                        line["monotonic"] = data.is_monotonic
                        line["cumulative"] = data.aggregation_temporality == 2
                    if kind == "histogram":
                        line["cumulative"] = data.aggregation_temporality == 2
                        line["count"] = point.count
                        line["sum"] = point.sum
                        line["bounds"] = list(point.explicit_bounds)
                        line["buckets"] = list(point.bucket_counts)
                    else:
                        which = point.WhichOneof("value")
                        line["value"] = getattr(point, which) if which else None
                    yield line


def translated():
    """The points of the newest push (they share one time), through the other project's translator."""
    newest = max((line["time"] for line in received), default=0)
    families = {}
    for line in received:
        if line["time"] == newest and not line["no_value"]:
            key = (line["name"], line["unit"], line["kind"], line["description"])
            families.setdefault(key, []).append(line)
    metrics = []
    for (name, unit, kind, description), lines in families.items():
        common = lambda line: {
            "attributes": line["attributes"],
            "start_time_unix_nano": line["start"],
            "time_unix_nano": line["time"],
            "exemplars": [],
        }
        if kind == "histogram":
            points = [
                sdk.HistogramDataPoint(
                    count=line["count"],
                    sum=line["sum"],
                    bucket_counts=line["buckets"],
                    explicit_bounds=line["bounds"],
                    min=0,
                    max=0,
                    **common(line),
                )
                for line in lines
            ]
            data = sdk.Histogram(points, sdk.AggregationTemporality.CUMULATIVE)
        else:
            points = [sdk.NumberDataPoint(value=line["value"], **common(line)) for line in lines]
            data = sdk.Gauge(points)
            if kind == "sum":
                data = sdk.Sum(points, sdk.AggregationTemporality.CUMULATIVE, lines[0]["monotonic"])
        metrics.append(sdk.Metric(name=name, description=description, unit=unit, data=data))
    scope = sdk.ScopeMetrics(InstrumentationScope("sink"), metrics, "")
    resource = sdk.ResourceMetrics(Resource({}), [scope], "")
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(
        disable_target_info=True, scope_info_enabled=False, registry=registry
    )
    reader._collector._callback = None
    reader._collector.add_metrics_data(sdk.MetricsData([resource]))
    return generate_latest(registry)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportMetricsServiceRequest()
        request.ParseFromString(body)
        with lock:
            received.extend(read(request))
        self.answer("application/x-protobuf", ExportMetricsServiceResponse().SerializeToString())

    def do_GET(self):
        with lock:
            if self.path == "/translated":
                self.answer("text/plain", translated())
            else:
                lines = "".join(json.dumps(line) + "\n" for line in received)
                self.answer("application/json", lines.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"port={server.server_address[1]} ", flush=True)
server.serve_forever()
