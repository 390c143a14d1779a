"use strict";
(() => {
  // How often the page reloads its content, in milliseconds.
  const REFRESH_EVERY = 15000;
  // The delay between the last key press and the search, in milliseconds.
  const SEARCH_AFTER = 250;
  // The elements that a reload replaces; the form between them keeps the reader's input.
  const PARTS = ["top", "live"];
  const element = (id) => document.getElementById(id);
  const time = { hour: "2-digit", minute: "2-digit" };
  const day = { day: "numeric", month: "short" };

  // Shows times in the reader's time zone; the title keeps UTC.
  const localise = (root) => {
    for (const stamp of root.querySelectorAll("time")) {
      const at = new Date(stamp.dateTime);
      const isToday = at.toDateString() === new Date().toDateString();
      const form = { ...(isToday ? {} : day), ...time };
      if ("seconds" in stamp.dataset) form.second = "2-digit";
      stamp.textContent = at.toLocaleString(undefined, form);
    }
  };

  let paused = false;
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.id = "toggle";
  const label = () => {
    toggle.textContent = paused ? "Resume refreshing" : "Stop refreshing";
    element("refreshing").replaceChildren(paused ? "; refreshing is stopped " : `; refreshed every ${REFRESH_EVERY / 1000} s `, toggle);
  };
  toggle.addEventListener("click", () => {
    paused = !paused;
    label();
    toggle.focus();
    if (!paused) refresh();
  });

  // Replaces the content, and keeps open details, the scroll position and the focus.
  const show = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const parts = PARTS.map((id) => [element(id), next.getElementById(id)]);
    if (parts.some(([, content]) => !content)) throw new Error("this is not the status page");
    const holds = (node) => parts.some(([live]) => live.contains(node));
    for (const open of document.querySelectorAll("details[open]")) {
      next.getElementById(open.id)?.setAttribute("open", "");
    }
    const focused = holds(document.activeElement) ? document.activeElement : null;
    const own = (attribute) => focused?.getAttribute(attribute);
    const key = own("id") ? `#${CSS.escape(own("id"))}`
      : focused?.matches("summary") ? `#${CSS.escape(focused.parentElement.id)} > summary`
      : own("href") ? `main [href="${CSS.escape(own("href"))}"]` : null;
    const selection = document.getSelection();
    // Replacing selected text would prevent the reader from copying it.
    if (selection && !selection.isCollapsed && holds(selection.anchorNode)) return;
    const place = { left: window.scrollX, top: window.scrollY, behavior: "instant" };
    localise(next);
    for (const [live, content] of parts) live.replaceChildren(...content.childNodes);
    label();
    window.scrollTo(place);
    if (key) document.querySelector(key)?.focus({ preventScroll: true });
    const verdict = element("verdict").textContent;
    if (verdict !== element("announce").dataset.verdict) {
      element("announce").dataset.verdict = verdict;
      element("announce").textContent = verdict;
    }
    document.title = next.title;
    const icon = next.querySelector("link[rel=icon]");
    if (icon) document.querySelector("link[rel=icon]").href = icon.href;
  };

  let number = 0;
  let shownAt = new Date();
  const refresh = async () => {
    const own = ++number;
    const stale = element("stale");
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      // A later search may already have been answered.
      if (own !== number) return;
      show(text);
      shownAt = new Date();
      stale.hidden = true;
    } catch (error) {
      if (own !== number) return;
      stale.textContent = `The exporter does not answer (${error.message}). This is its state of ${shownAt.toLocaleTimeString()}.`;
      stale.hidden = false;
    }
  };

  const form = element("filter");
  const search = () => {
    const wanted = new URLSearchParams();
    for (const [key, value] of new FormData(form)) {
      if (value && key !== "refresh" && !(key === "sort" && value === "trouble")) wanted.set(key, value);
    }
    history.replaceState(null, "", `${location.pathname}?${wanted}${location.hash}`);
    refresh();
  };
  let timer = 0;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, SEARCH_AFTER);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    search();
  });

  element("apply").hidden = true;
  element("announce").dataset.verdict = element("verdict").textContent;
  localise(document);
  label();
  setInterval(() => {
    if (!paused && !document.hidden) refresh();
  }, REFRESH_EVERY);
  document.addEventListener("visibilitychange", () => {
    if (!paused && !document.hidden) refresh();
  });
})();
