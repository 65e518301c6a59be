//! Style and scripts: in the binary, compressed once, under names that carry the hash of their content, so that browsers
//! keep them for good. What others wrote lies in `assets/vendor` with its licence; a test holds its checksums.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// One file.
pub(crate) struct Asset {
    /// Its address.
    pub(crate) href: String,
    name: String,
    kind: &'static str,
    plain: &'static [u8],
    packed: Bytes,
}

impl Asset {
    fn new(name: &str, kind: &'static str, plain: &'static [u8]) -> Self {
        let hash: String = Sha256::digest(plain)
            .iter()
            .take(6)
            .fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        let name = format!("{hash}-{name}");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory does not fail.
        let packed = encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap_or_default();
        Self { href: format!("/assets/{name}"), name, kind, plain, packed: packed.into() }
    }
}

/// All of them.
pub(crate) struct Assets {
    pub(crate) style: Asset,
    pub(crate) own: Asset,
    pub(crate) htmx: Asset,
    pub(crate) icon: Asset,
    pub(crate) uplot: Asset,
    pub(crate) uplot_style: Asset,
    pub(crate) charts: Asset,
    pub(crate) charts_style: Asset,
    pub(crate) logs: Asset,
    pub(crate) logs_style: Asset,
    /// Of the pages that make and change endpoints.
    pub(crate) create_style: Asset,
    pub(crate) create: Asset,
    /// The editor of JSON.
    pub(crate) editor: Asset,
    pub(crate) palette: Asset,
    /// What the page of a terminal loads, and no other.
    pub(crate) terminal: Asset,
    pub(crate) xterm: Asset,
    pub(crate) fit: Asset,
    pub(crate) xterm_style: Asset,
}

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file with its extensions, one of them ours: htmx begins as soon as it is there, and an extension that came later
/// would find every page read already. Pages load it last, for what listens to it is to be there before it.
const HTMX: &str = concat!(
    include_str!("../assets/vendor/htmx-4.0.1.min.js"),
    "\n",
    include_str!("../assets/vendor/hx-sse-4.0.1.min.js"),
    "\n",
    include_str!("../assets/details.js")
);

/// The files of this binary.
pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new("console.css", STYLE, include_bytes!("../assets/console.css")),
    own: Asset::new("console.js", SCRIPT, include_bytes!("../assets/console.js")),
    htmx: Asset::new("htmx.js", SCRIPT, HTMX.as_bytes()),
    icon: Asset::new("icon.svg", "image/svg+xml", include_bytes!("../assets/icon.svg")),
    uplot: Asset::new("uplot.js", SCRIPT, include_bytes!("../assets/vendor/uplot-1.6.32.iife.min.js")),
    uplot_style: Asset::new("uplot.css", STYLE, include_bytes!("../assets/vendor/uplot-1.6.32.min.css")),
    charts: Asset::new("charts.js", SCRIPT, include_bytes!("../assets/charts.js")),
    charts_style: Asset::new("charts.css", STYLE, include_bytes!("../assets/charts.css")),
    logs: Asset::new("logs.js", SCRIPT, include_bytes!("../assets/logs.js")),
    logs_style: Asset::new("logs.css", STYLE, include_bytes!("../assets/logs.css")),
    create_style: Asset::new("create.css", "text/css; charset=utf-8", include_bytes!("../assets/create.css")),
    create: Asset::new("create.js", SCRIPT, include_bytes!("../assets/create.js")),
    editor: Asset::new("json-edit.js", SCRIPT, include_bytes!("../assets/json-edit.js")),
    palette: Asset::new("palette.js", SCRIPT, include_bytes!("../assets/palette.js")),
    terminal: Asset::new("terminal.js", SCRIPT, include_bytes!("../assets/terminal.js")),
    xterm: Asset::new("xterm.js", SCRIPT, include_bytes!("../assets/vendor/xterm-6.0.0.mjs")),
    fit: Asset::new("xterm-fit.js", SCRIPT, include_bytes!("../assets/vendor/xterm-addon-fit-0.11.0.mjs")),
    xterm_style: Asset::new("xterm.css", STYLE, include_bytes!("../assets/vendor/xterm-6.0.0.css")),
});

impl Assets {
    pub(crate) fn all(&self) -> [&Asset; 18] {
        [
            &self.style,
            &self.own,
            &self.htmx,
            &self.icon,
            &self.uplot,
            &self.uplot_style,
            &self.charts,
            &self.charts_style,
            &self.logs,
            &self.logs_style,
            &self.create_style,
            &self.create,
            &self.editor,
            &self.palette,
            &self.terminal,
            &self.xterm,
            &self.fit,
            &self.xterm_style,
        ]
    }
}

/// `GET /assets/{name}`.
pub(crate) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.all().into_iter().find(|asset| asset.name == name) {
        Some(asset) => answer(asset, &headers),
        None => (StatusCode::NOT_FOUND, "there is no such file in this version; load the page again")
            .into_response(),
    }
}

/// `GET /favicon.ico`, for browsers that look for none other.
pub(crate) async fn icon(headers: HeaderMap) -> Response {
    answer(&ASSETS.icon, &headers)
}

fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let about = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    if accepted.contains("gzip") {
        return (about, [(header::CONTENT_ENCODING, "gzip")], asset.packed.clone()).into_response();
    }
    (about, asset.plain).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checksums of what others wrote, as their packages have it.
    const VENDORED: [(&str, &[u8]); 7] = [
        ("HTMX", include_bytes!("../assets/vendor/htmx-4.0.1.min.js")),
        ("SSE", include_bytes!("../assets/vendor/hx-sse-4.0.1.min.js")),
        ("UPLOT", include_bytes!("../assets/vendor/uplot-1.6.32.iife.min.js")),
        ("UPLOT_STYLE", include_bytes!("../assets/vendor/uplot-1.6.32.min.css")),
        ("xterm.js", include_bytes!("../assets/vendor/xterm-6.0.0.mjs")),
        ("its style", include_bytes!("../assets/vendor/xterm-6.0.0.css")),
        ("its fit", include_bytes!("../assets/vendor/xterm-addon-fit-0.11.0.mjs")),
    ];

    #[test]
    fn what_others_wrote_is_as_they_wrote_it() {
        let list = include_str!("../assets/vendor/SHA256SUMS");
        for (name, content) in VENDORED {
            let sum: String = format!("{:x}", Sha256::digest(content));
            assert!(list.lines().any(|line| line.starts_with(&sum)), "{name} is {sum}");
        }
        assert_eq!(list.lines().count(), VENDORED.len(), "a file without a check, or a check without a file");
    }

    #[test]
    fn names_change_with_the_content() {
        let names =
            [Asset::new("a.js", SCRIPT, b"1"), Asset::new("a.js", SCRIPT, b"2")].map(|asset| asset.name);
        assert_ne!(names[0], names[1]);
    }

    #[tokio::test]
    async fn a_file_is_served_packed_and_kept_for_good() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, "br, gzip".parse().expect("a header"));
        let answer = serve(Path(ASSETS.own.name.clone()), headers).await;
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(
            answer.headers()[header::CACHE_CONTROL].to_str().is_ok_and(|text| text.contains("immutable"))
        );
        assert_eq!(serve(Path("0-other.js".into()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }
}
