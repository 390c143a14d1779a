"""Queries Alibaba's push statistics with the vendor's own client. Its arguments are the host and port, the key's id and
secret, the AppKey, the signature method (`v3` or `v2`, as the vendor calls them), and the ids of messages that the list does
not have. Prints what the client decoded, as JSON: the rows of the list, page by page to its end, and the row of each
message that was sent, `null` where there is none yet."""

import json
import sys
import time
from datetime import datetime, timedelta, timezone

from alibabacloud_push20160801 import models
from alibabacloud_push20160801.client import Client
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import DaraException

PAGE_SIZE = 10
endpoint, key_id, secret, app_key, signature, *more = sys.argv[1:]
config = Config(access_key_id=key_id, access_key_secret=secret, endpoint=endpoint, protocol="http")
if signature != "v3":
    config.signature_algorithm = signature
client = Client(config)


def call(operation, request):
    """The answer's body; `None` while the vendor still computes it. Throttled calls are repeated."""
    while True:
        try:
            return operation(request).body
        except DaraException as error:
            if error.code == "TaskWaiting":
                return None
            if not (error.code or "").startswith("Throttling"):
                raise
            time.sleep(0.2)


def records() -> tuple[list, int]:
    """Every row of the last 30 days, and how many pages they came in."""
    end = datetime.now(timezone.utc)
    form = "%Y-%m-%dT%H:%M:%SZ"
    rows, page = [], 1
    while True:
        request = models.QueryPushRecordsRequest(
            app_key=int(app_key),
            start_time=(end - timedelta(days=30)).strftime(form),
            end_time=end.strftime(form),
            page=page,
            page_size=PAGE_SIZE,
        )
        body = call(client.query_push_records, request)
        found = body.push_infos.push_info
        rows += [row.to_map() for row in found]
        if not found or page * PAGE_SIZE >= body.total:
            return rows, page
        page += 1


def statistics(message_id: str) -> dict | None:
    """The one row of a message."""
    request = models.QueryPushStatByMsgRequest(app_key=int(app_key), message_id=int(message_id))
    body = call(client.query_push_stat_by_msg, request)
    rows = body.push_stats.push_stat if body is not None else []
    assert len(rows) <= 1, rows
    return rows[0].to_map() if rows else None


listed, pages = records()
sent = [row["MessageId"] for row in listed if row["Status"] == "SENT"]
print(json.dumps({"records": listed, "pages": pages, "messages": {id: statistics(str(id)) for id in sent + more}}))
