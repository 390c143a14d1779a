"""Looks at the pages of the exporter with a real Chromium. Arguments: what to do, the address of the status page, and
what that needs. Prints what it has found, as JSON."""

import json
import pathlib
import sys
from collections.abc import Callable

from playwright.sync_api import Browser, Page, sync_playwright

AXE = pathlib.Path(__file__).parents[2] / "target/node/node_modules/axe-core/axe.min.js"
SIZES = {"desktop": {"width": 1280, "height": 1000}, "phone": {"width": 400, "height": 860}}
# Nine hours ahead of UTC, without summer time.
ZONE = {"timezone_id": "Asia/Tokyo", "locale": "en-GB"}


def axe_source() -> str:
    """The library that judges pages."""
    if not AXE.exists():
        sys.exit(f"{AXE} is missing: tests/run installs axe-core from npm (npm ci in target/node)")
    return AXE.read_text()


def judged(page: Page) -> list[dict]:
    """What axe-core finds wrong."""
    page.evaluate(axe_source())
    violations = page.evaluate("axe.run().then((found) => found.violations)")
    return [
        {"id": own["id"], "impact": own["impact"], "nodes": [node["html"][:200] for node in own["nodes"][:3]]}
        for own in violations
    ]


def texts(page: Page) -> dict:
    """What each account's section says."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("section.account")].map((section) => {
            const words = (element) => element.textContent.replace(/[ \\n]+/g, " ").trim();
            const all = (selector) => [...section.querySelectorAll(selector)].map(words);
            const facts = [...section.querySelectorAll("dt")].map((term) => [words(term), words(term.nextElementSibling)]);
            const rows = (table) => [...table.querySelectorAll("tbody tr")].map((row) => [...row.children].map(words));
            return [words(section.querySelector("h2")), {
                facts: Object.fromEntries(facts), health: words(section.querySelector(".health")),
                place: words(section.querySelector(".place")), reasons: all(".reason"), pending: all(".pending"),
                runbooks: [...section.querySelectorAll('a[href^="runbooks/"]')].map((link) => link.href),
                charts: [...section.querySelectorAll("figure svg")].map((svg) => svg.getAttribute("aria-label")),
                bands: section.querySelectorAll("figure polygon").length,
                tables: Object.fromEntries([...section.querySelectorAll("table")].map(
                    (table) => [table.getAttribute("aria-label"), rows(table)])),
            }];
        }))"""
    )


def views(browser: Browser, address: str, name: str, pictures: str) -> dict:
    """The page in every size and colour; with script."""
    found = {}
    for size, viewport in SIZES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport=viewport, color_scheme=scheme, **ZONE)
            page = context.new_page()
            console, requests = [], []
            page.on("console", lambda message, console=console: console.append(message.text))
            page.on("pageerror", lambda error, console=console: console.append(str(error)))
            page.on("request", lambda request, requests=requests: requests.append(request.url))
            page.goto(address)
            own = {
                "console": console,
                "violations": judged(page),
                "width": page.evaluate("document.documentElement.scrollWidth"),
                "wanted_width": viewport["width"],
                # What has to be scrolled sideways by itself.
                "inner": page.evaluate(
                    "[...document.querySelectorAll('body *')].filter((own) => own.scrollWidth > own.clientWidth + 1 && "
                    "['auto', 'scroll'].includes(getComputedStyle(own).overflowX)).map((own) => own.className)"
                ),
                "outside": [url for url in requests if not url.startswith((address, "data:"))],
                "verdict": page.locator("#verdict").inner_text(),
                "title": page.title(),
                "times": page.evaluate("[...document.querySelectorAll('time')].map((own) => [own.textContent, own.title])"),
            }
            if scheme == "light" and size == "desktop":
                own["accounts"] = texts(page)
                own["matrix"] = page.evaluate(
                    "[...document.querySelectorAll('.matrix tr')].map((row) => [...row.children].map("
                    "(cell) => [cell.textContent.trim(), cell.className, cell.title]))"
                )
            if pictures != "-":
                page.screenshot(path=f"{pictures}/{name}-{size}{'-dark' if scheme == 'dark' else ''}.png")
                troubled = page.locator("section.account:has(.reason)")
                if size == "desktop" and troubled.count() > 1:
                    troubled.nth(1).screenshot(path=f"{pictures}/{name}-account{'-dark' if scheme == 'dark' else ''}.png")
            found[f"{size}-{scheme}"] = own
            context.close()
    return found


def names(page: Page) -> list[str]:
    """The accounts in the table, in its order."""
    return [link.inner_text() for link in page.locator("table.accounts tbody th a").all()]


def operate(browser: Browser, address: str, *_: str) -> dict:
    """What a reader does, with and without script: searches, filters, sorts, lets it load itself again."""
    found: dict = {}
    for script in (True, False):
        context = browser.new_context(viewport=SIZES["desktop"], java_script_enabled=script, **ZONE)
        page = context.new_page()
        page.goto(address)
        own = found["script" if script else "plain"] = {"all": names(page)}
        apply: Callable[[], None] = (lambda: page.wait_for_timeout(1500)) if script else page.locator("#apply").click
        page.locator("#show").select_option("trouble")
        apply()
        own["trouble"] = names(page)
        page.locator("#show").select_option("")
        page.locator("#q").fill("huawei")
        apply()
        own["search"], own["address"] = names(page), page.url
        own["typed"] = page.locator("#q").input_value()
        page.locator("#q").fill("")
        page.locator("#sort").select_option("name")
        apply()
        own["sorted"] = names(page)
        page.goto(f"{address}?q=no-such-account")
        own["nothing"] = page.locator(".notice:visible").inner_text()
        page.goto(address)
        page.locator("section.account details summary").first.click()
        page.locator("section.account details").first.scroll_into_view_if_needed()
        own["runbook"] = page.locator('section.account a[href^="runbooks/"]').first.get_attribute("href")
        if script:
            place = "[scrollY, document.querySelectorAll('details[open]').length, document.activeElement.tagName]"
            state = "document.querySelector('#top time').dateTime"
            before, at = page.evaluate(place), page.evaluate(state)
            page.wait_for_timeout(1200)
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            # The page's policy forbids what Playwright waits with.
            while page.evaluate(state) == at:
                page.wait_for_timeout(100)
            own["place"] = [before, page.evaluate(place)]
        else:
            own["loads"] = []
            for follow in (False, True):
                page.goto(f"{address}?refresh=5")
                if follow:
                    page.locator("table.accounts tbody th a").last.click()
                else:
                    page.mouse.wheel(0, 700)
                # The page scrolls smoothly.
                page.wait_for_timeout(2000)
                loads: list[str] = []
                # Where the last section is in the window says how far it is scrolled.
                place = page.locator("section.account h2").last.bounding_box()
                page.on("load", lambda _, loads=loads: loads.append(page.url))
                page.wait_for_timeout(11000)
                own["loads"].append([loads, place["y"], page.locator("section.account h2").last.bounding_box()["y"]])
        context.close()
    return found


def alone(browser: Browser, address: str, *_: str) -> dict:
    """The page while the exporter goes away: a line on standard input says that it has gone."""
    page = browser.new_context(**ZONE).new_page()
    page.goto(address)
    before = page.locator("#stale").is_visible()
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.readline()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator("#stale").wait_for(state="visible")
    return {"before": before, "after": page.locator("#stale").inner_text(), "verdict": page.locator("#verdict").inner_text()}


def text_page(browser: Browser, address: str, *_: str) -> dict:
    """A page of text, such as a runbook."""
    found = {}
    for size, viewport in SIZES.items():
        page = browser.new_context(viewport=viewport).new_page()
        console: list[str] = []
        page.on("console", lambda message, console=console: console.append(message.text))
        page.goto(address)
        found[size] = {
            "console": console,
            "violations": judged(page),
            "width": page.evaluate("document.documentElement.scrollWidth"),
            "wanted_width": viewport["width"],
            "heading": page.locator("h1").inner_text(),
            "links": page.evaluate("[...document.querySelectorAll('main a')].map((link) => link.href)"),
        }
    return found


def main() -> None:
    """Does what is asked for, in one browser."""
    task, address, *rest = sys.argv[1:]
    tasks = {"views": views, "operate": operate, "alone": alone, "text": text_page}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        found = tasks[task](browser, address, *rest)
        browser.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
