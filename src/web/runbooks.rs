//! `/runbooks/`: what to do about each alert, from the files in `docs/runbooks`, which are compiled into the
//! binary. Alerts and the status page link here.

use askama::Template;
use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html::push_html};

use super::{AppState, html};

/// All runbooks: name and Markdown, in the order of their names.
static RUNBOOKS: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

/// The routes.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        // With the trailing slash the list can use relative links, which work below a proxy's path prefix.
        .route(
            "/runbooks",
            get(async || {
                (
                    StatusCode::PERMANENT_REDIRECT,
                    [(header::LOCATION, "runbooks/")],
                )
            }),
        )
        .route("/runbooks/", get(index))
        .route("/runbooks/{name}", get(runbook))
}

/// Whether there is a runbook of this name.
pub(super) fn exists(name: &str) -> bool {
    find(name).is_some()
}

fn find(name: &str) -> Option<&'static str> {
    let place = RUNBOOKS.binary_search_by_key(&name, |(own, _)| own).ok()?;
    Some(RUNBOOKS[place].1)
}

#[derive(Template)]
#[template(path = "runbook.html", config = "src/web/askama.toml", escape = "none")]
struct Page<'a> {
    style: &'static str,
    title: &'a str,
    /// HTML.
    body: &'a str,
    is_index: bool,
}

fn answer(status: StatusCode, title: &str, body: &str, is_index: bool) -> Response {
    let page = Page {
        style: html::STYLE,
        title,
        body,
        is_index,
    };
    match page.render() {
        Ok(page) => html::page(status, page),
        Err(error) => {
            tracing::error!(%error, "a runbook could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn index() -> Response {
    let mut body = String::from(
        "<h1>Runbooks</h1>\n<p>What each alert means, and what to do.</p>\n<dl class=\"runbooks\">\n",
    );
    for (name, markdown) in RUNBOOKS {
        body.push_str(&format!("<dt><a href=\"{name}\">{name}</a></dt><dd>"));
        push_text(&mut body, &first_sentence(markdown));
        body.push_str("</dd>\n");
    }
    body.push_str("</dl>\n");
    answer(StatusCode::OK, "Runbooks", &body, true)
}

async fn runbook(Path(name): Path<String>) -> Response {
    let name = name.strip_suffix(".md").unwrap_or(&name);
    if let Some(markdown) = find(name) {
        return answer(StatusCode::OK, name, &render(markdown), false);
    }
    let mut shown = String::new();
    push_text(&mut shown, name);
    let body = format!(
        "<h1>No such runbook</h1>\n<p>This version of the exporter has no runbook <code>{shown}</code>. \
         <a href=\"./\">All runbooks</a></p>"
    );
    answer(StatusCode::NOT_FOUND, "No such runbook", &body, false)
}

/// Appends a text, escaped.
fn push_text(body: &mut String, text: &str) {
    push_html(body, std::iter::once(Event::Text(text.into())));
}

/// A runbook as HTML. HTML in it is shown as text; names of alerts become links.
fn render(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut in_link = 0_usize;
    let events = Parser::new_ext(markdown, options).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => {
            in_link += 1;
            let dest_url = target(&dest_url).map_or(dest_url, CowStr::from);
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            })
        }
        Event::End(TagEnd::Link) => {
            in_link = in_link.saturating_sub(1);
            event
        }
        Event::Code(name) if in_link == 0 && exists(&name) => {
            Event::InlineHtml(format!("<a href=\"{name}\"><code>{name}</code></a>").into())
        }
        other => other,
    });
    let mut body = String::with_capacity(markdown.len() * 2);
    push_html(&mut body, events);
    body
}

/// The target on this server of a link to another file of the repository; `None` to leave the link unchanged.
fn target(link: &str) -> Option<String> {
    let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
    let name = path.trim_start_matches("./").strip_suffix(".md")?;
    let hash = if fragment.is_empty() { "" } else { "#" };
    exists(name).then(|| format!("{name}{hash}{fragment}"))
}

/// The first sentence below the title, as text.
fn first_sentence(markdown: &str) -> String {
    let mut text = String::new();
    let mut in_paragraph = false;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::Paragraph) => in_paragraph = true,
            Event::End(TagEnd::Paragraph) => break,
            Event::Text(own) | Event::Code(own) if in_paragraph => text.push_str(&own),
            Event::SoftBreak | Event::HardBreak if in_paragraph => text.push(' '),
            _ => {}
        }
    }
    match text.find(". ") {
        Some(end) => text[..=end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runbook_is_there_and_has_a_sentence() {
        assert!(RUNBOOKS.is_sorted_by_key(|(name, _)| *name));
        for (name, markdown) in RUNBOOKS {
            assert!(markdown.starts_with(&format!("# {name}\n")), "{name}");
            assert!(first_sentence(markdown).len() > 20, "{name}");
            assert!(render(markdown).starts_with("<h1>"), "{name}");
        }
        assert!(exists("DeliveryAccountFailing") && !exists("deliveryaccountfailing"));
    }

    #[test]
    fn markdown_becomes_html_without_foreign_html_and_with_links() {
        let body = render(
            "# A\n\nSee `DeliveryRateLow`, [this](DeliveryDataOld.md#do), [that](https://example.com), \
             <b>x</b> and `other`.\n\n| a |\n|---|\n| b |\n\n<script>alert(1)</script>\n",
        );
        for part in [
            "<a href=\"DeliveryRateLow\"><code>DeliveryRateLow</code></a>",
            "<a href=\"DeliveryDataOld#do\">this</a>",
            "<a href=\"https://example.com\">that</a>",
            "&lt;b&gt;x",
            "<code>other</code>",
            "<table>",
            "&lt;script&gt;",
        ] {
            assert!(body.contains(part), "{part} is not in {body}");
        }
    }
}
