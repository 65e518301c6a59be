//! Markdown that a worker wrote, as HTML that cannot do anything: HTML in it is shown as text, pictures are their
//! words, and links lead only to the web, without telling where from.

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};

/// The most that is rendered, in bytes.
const MOST: usize = 100_000;

/// `text` as HTML.
pub(crate) fn render(text: &str) -> String {
    let cut = (0..=MOST.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let events = Parser::new_ext(&text[..cut], options).filter_map(tame);
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

fn tame(event: Event<'_>) -> Option<Event<'_>> {
    let event = match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Image { .. }) => Event::Start(Tag::Emphasis),
        Event::End(TagEnd::Image) => Event::End(TagEnd::Emphasis),
        Event::Start(Tag::Link { dest_url, .. }) if is_web(&dest_url) => Event::Start(Tag::Link {
            link_type: LinkType::Inline,
            dest_url,
            title: CowStr::Borrowed(""),
            id: CowStr::Borrowed(""),
        }),
        Event::Start(Tag::Link { .. }) => Event::Start(Tag::Link {
            link_type: LinkType::Inline,
            dest_url: CowStr::Borrowed("#main"),
            title: CowStr::Borrowed(""),
            id: CowStr::Borrowed(""),
        }),
        // A heading here stands below the page's own.
        Event::Start(Tag::Heading { .. } | Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::Heading(_) | TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::MetadataBlock(_)) | Event::End(TagEnd::MetadataBlock(_)) => return None,
        other => other,
    };
    Some(event)
}

/// Whether an address is one that a page may be left for.
pub(crate) fn is_web(address: &str) -> bool {
    let lower = address.trim_start().to_ascii_lowercase();
    lower.starts_with("https://") || lower.starts_with("http://")
}

/// Whether a text looks as if it was written to be rendered.
pub(crate) fn looks_like(text: &str) -> bool {
    let signs = |line: &str| {
        let line = line.trim_start();
        line.starts_with("# ")
            || line.starts_with("## ")
            || line.starts_with("### ")
            || line.starts_with("- ")
            || line.starts_with("* ")
            || line.starts_with("1. ")
            || line.starts_with("> ")
            || line.starts_with("```")
            || line.starts_with("| ")
            || line.contains("**")
    };
    text.contains('\n') && text.lines().take(200).any(signs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_renders_and_cannot_do_anything() {
        let html =
            render("# Head\n\n**b** [go](https://a.example/?q=1) `x`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
        for part in [
            "<p>Head</p>",
            "<strong>b</strong>",
            "<a href=\"https://a.example/?q=1\">",
            "<table>",
            "<code>x</code>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        let hostile = "<script>alert(1)</script>\n\na <img src=x onerror=alert(1)> b\n\n[x](javascript:alert(1)) \
                       [y](data:text/html,z) <javascript:alert(2)>\n\n![pic](https://tracker.example/a.png)\n\n\
                       <iframe\nsrc=x>\n\n[z](JaVaScRiPt:alert(3))";
        let html = render(hostile);
        for gone in [
            "<script",
            "<img",
            "<iframe",
            "href=\"javascript",
            "href=\"data",
            "href=\"JaVa",
            "tracker.example",
        ] {
            assert!(!html.contains(gone), "{gone} in {html}");
        }
    }

    #[test]
    fn prose_is_no_markdown() {
        assert!(looks_like("Steps:\n- one\n- two"));
        assert!(!looks_like("One line with **stars**"));
        assert!(!looks_like("two lines\nof prose"));
    }
}
