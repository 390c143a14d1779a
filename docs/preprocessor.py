"""What the manual needs beside mdBook's own: mdBook runs this over all pages.

- A page that is nothing but a title and a link to a Markdown file at the top of the repository shows that file.
- A link that is named like the page it leads to gets the page's name.
- A link to a file that is no page of the manual leads to `git-repository-url` of book.toml, if that is set. Else its text stays.
"""

import json
import os
import re
import sys

LINK = re.compile(r"(!?)\[([^\]\n]*(?:\n[^\]\n]+)?)\]\(([^)\s#]*)(#[^)\s]*)?\)")
STUB = re.compile(r"# [^\n]+\n\nThis page is \[[^\]]+\]\((\.\./[A-Z]+\.md)\)\.\s*\Z")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def pages(items):
    """All chapters, those inside of others too."""
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            yield chapter
            yield from pages(chapter["sub_items"])


def rewrite(text, directory, page, known, stubs, repository):
    """The text of a file in `directory` (of the repository), with links that work in `page` of the book."""

    def link(match):
        image, label, path, anchor = match.group(1), match.group(2), match.group(3), match.group(4) or ""
        if not path or "://" in path or path.startswith("mailto:"):
            return match.group(0)
        target = os.path.normpath(os.path.join(directory, path))
        target = stubs.get(target, target)
        if label.endswith(".md"):
            label = known.get(target, label)
        is_picture = target.startswith("docs/") and not target.endswith(".md") and os.path.isfile(os.path.join("..", target))
        if target in known or is_picture:
            # mdBook makes index.html of it.
            target = re.sub(r"\bREADME\.md$", "index.md", target)
            return f"{image}[{label}]({os.path.relpath(target, os.path.dirname(page))}{anchor})"
        return f"[{label}]({repository}/blob/HEAD/{target}{anchor})" if repository else label

    # Code is left as it is.
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(link, text[end : fence.start()]), fence.group(0)]
        end = fence.end()
    return "".join(parts) + LINK.sub(link, text[end:])


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "supports":
        sys.exit(0)
    context, book = json.load(sys.stdin)
    chapters = [chapter for chapter in pages(book["items"]) if chapter.get("source_path")]
    known = {"docs/" + chapter["source_path"]: chapter["name"] for chapter in chapters}
    stubs = {}
    for chapter in chapters:
        if match := STUB.match(chapter["content"]):
            stubs[os.path.normpath("docs/" + match.group(1))] = "docs/" + chapter["source_path"]
    repository = context["config"].get("output", {}).get("html", {}).get("git-repository-url")
    for chapter in chapters:
        page = "docs/" + chapter["source_path"]
        directory, text = os.path.dirname(page), chapter["content"]
        if match := STUB.match(text):
            directory = ""
            with open(match.group(1), encoding="utf-8") as file:
                text = file.read()
        chapter["content"] = rewrite(text, directory, page, known, stubs, repository)
    json.dump(book, sys.stdout)


main()
