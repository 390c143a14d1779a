"""Reads an exposition as scrapers and people do: Python, which says whether a gzip body is one member, and a real
Chromium. Its argument is the address. Prints the texts, as JSON."""

import json
import sys
import urllib.request
import zlib

from playwright.sync_api import sync_playwright


def python(address: str) -> dict:
    """What zlib makes of the gzip body, and what it leaves over."""
    request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:
        reader = zlib.decompressobj(wbits=31)
        text = reader.decompress(answer.read()) + reader.flush()
    return {"text": text.decode(), "whole": reader.eof, "left": len(reader.unused_data)}


def chromium(address: str) -> dict:
    """The text that Chromium shows, by encoding."""
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for encoding in ("gzip", "zstd"):
            context = browser.new_context(extra_http_headers={"Accept-Encoding": encoding})
            page = context.new_page()
            answer = page.goto(address)
            # What stands on the page, not what came over the wire.
            text = page.evaluate("document.body.innerText")
            found[encoding] = {"encoding": answer.headers.get("content-encoding"), "text": text}
            context.close()
        browser.close()
    return found


print(json.dumps({"python": python(sys.argv[1]), "chromium": chromium(sys.argv[1])}))
