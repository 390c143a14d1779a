"""Looks at the status page with a real Chromium: arguments are its address, a directory for pictures or "-", and
"plain" to do without JavaScript. Prints what it has found, as JSON."""

import json
import pathlib
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

VIEWS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def look(browser, address: str, name: str, view: dict, pictures: pathlib.Path | None, script: bool) -> dict:
    """One view of the page."""
    context = browser.new_context(**view, java_script_enabled=script)
    page = context.new_page()
    console, requests = [], []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    found = {
        "console": console,
        "outside": [url for url in requests if not url.startswith((address, "data:"))],
        "title": page.title(),
    }
    if script:
        violations = Axe().run(page).response["violations"]
        found["violations"] = [
            {"id": own["id"], "impact": own["impact"], "nodes": [node["html"][:200] for node in own["nodes"][:3]]}
            for own in violations
        ]
        # Nothing may stick out sideways: wide tables scroll by themselves.
        found["width"] = page.evaluate("document.documentElement.scrollWidth")
        found["wanted_width"] = view["viewport"]["width"]
    found["accounts"] = {
        section.locator("h2").inner_text(): {
            term.inner_text(): definition.inner_text()
            for term, definition in zip(section.locator("dt").all(), section.locator("dd").all())
        } | {
            "course": [svg.get_attribute("aria-label") for svg in section.locator("svg").all()],
            "tables": [
                [[cell.inner_text() for cell in row.locator("th,td").all()] for row in table.locator("tbody tr").all()]
                for table in section.locator("table").all()
            ],
        }
        for section in page.locator("section[aria-labelledby^=account-]").all()
    } if name == "desktop" else None
    if pictures:
        page.screenshot(path=str(pictures / f"status-{name}.png"), full_page=False)
    context.close()
    return found


def main() -> None:
    """All views, in one browser."""
    address, directory, *rest = sys.argv[1:]
    pictures = None if directory == "-" else pathlib.Path(directory)
    script = rest != ["plain"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        found = {name: look(browser, address, name, view, pictures, script) for name, view in VIEWS.items()}
        browser.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
