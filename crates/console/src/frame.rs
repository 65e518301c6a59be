//! What stands around every page: who looks, where, in which theme, what was just done, and where the same thing is on
//! the command line, in the API and in `runyard.toml`.

use axum::body::Body;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::assets::{ASSETS, Assets};
use crate::call::encoded;
use crate::forms::read;
use crate::may::May;
use crate::place::Query;
use crate::session::{Visit, cookie, is_own_path};

const THEME: &str = "runyard_theme";
const FLASH: &str = "runyard_flash";

/// How long a choice of a theme is kept, in seconds.
const YEAR_S: i64 = 365 * 86_400;

/// Light, dark, or as the system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let word = cookie(headers, THEME).unwrap_or_default();
        Self::ALL.into_iter().find(|theme| theme.word() == word).unwrap_or(Self::System)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "Auto",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }
}

/// What came of a form, told on the page after it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Flash {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

impl Flash {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie(headers, FLASH)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Goes on to a page and tells it there.
    pub(crate) fn redirect(&self, visit: &Visit, to: &str) -> Response {
        // A cookie has room for 4 KiB.
        let text: String = self.text.chars().take(600).collect();
        let told = serde_json::to_vec(&Self { ok: self.ok, text }).unwrap_or_default();
        let value = visit.console.cookie(FLASH, &URL_SAFE_NO_PAD.encode(told), 60);
        let mut response = Redirect::to(to).into_response();
        response.headers_mut().append(header::SET_COOKIE, value);
        response
    }

    /// The cookie of what was told already.
    pub(crate) fn told(visit: &Visit) -> HeaderValue {
        visit.console.cookie(FLASH, "", 0)
    }
}

/// The same thing elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Same {
    pub(crate) cli: Vec<String>,
    pub(crate) api: Vec<String>,
    pub(crate) toml: Option<String>,
}

/// Entries of the sidebar: address and name.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) entries: Vec<(&'static str, &'static str)>,
}

/// What a page has around it.
pub(crate) struct Frame {
    pub(crate) title: String,
    /// The entry of the sidebar that it belongs to.
    pub(crate) nav: &'static str,
    /// The pages above it: address and name.
    pub(crate) crumbs: Vec<(String, String)>,
    pub(crate) theme: Theme,
    pub(crate) csrf: String,
    pub(crate) who: String,
    pub(crate) may: May,
    /// Where this page is, for what comes back to it.
    pub(crate) here: String,
    /// Where it is kept fresh.
    pub(crate) stream: Option<String>,
    pub(crate) flash: Option<Flash>,
    pub(crate) same: Same,
    pub(crate) assets: &'static Assets,
    pub(crate) now: i64,
}

impl Frame {
    pub(crate) fn new(visit: &Visit, nav: &'static str, title: &str, path: &str, query: &Query) -> Self {
        let query = query.text();
        let here = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        Self {
            title: title.to_owned(),
            nav,
            crumbs: Vec::new(),
            theme: visit.theme,
            csrf: visit.csrf.clone(),
            who: visit.name(),
            may: visit.may(),
            stream: Some(format!("/ui/events?page={}", encoded(&here))),
            here,
            flash: visit.flash.clone(),
            same: Same::default(),
            assets: &ASSETS,
            now: visit.console.inner.engine.now().0,
        }
    }

    /// The entries of the sidebar, by group: those that the visitor may open.
    pub(crate) fn navigation(&self) -> Vec<Group> {
        let May { look, deploy, admin, keys, billing } = self.may;
        let groups = [
            ("", vec![("/", "Overview", true), ("/endpoints", "Endpoints", true), ("/jobs", "Jobs", true)]),
            ("New", vec![("/catalogue", "Catalogue", true), ("/git", "Git", look)]),
            (
                "Shared by endpoints",
                vec![
                    ("/templates", "Templates", look),
                    ("/volumes", "Volumes", look),
                    ("/secrets", "Secrets", look),
                    ("/registries", "Registries", deploy),
                    ("/ssh-keys", "SSH keys", look),
                ],
            ),
            ("Who may", vec![("/keys", "Keys", keys), ("/members", "Members", admin)]),
            (
                "Server",
                vec![
                    ("/activity", "Activity", admin),
                    ("/usage", "Usage", billing),
                    ("/disk", "Disk", admin),
                    ("/server", "Health", admin),
                ],
            ),
        ];
        let open = |(name, entries): (&'static str, Vec<(&'static str, &'static str, bool)>)| Group {
            name,
            entries: entries
                .into_iter()
                .filter_map(|(href, name, may)| may.then_some((href, name)))
                .collect(),
        };
        groups.into_iter().map(open).filter(|group| !group.entries.is_empty()).collect()
    }

    /// What pages with charts load beside the rest.
    pub(crate) fn charts(&self) -> String {
        let assets = self.assets;
        format!(
            "<link rel=\"stylesheet\" href=\"{}\">\n<link rel=\"stylesheet\" href=\"{}\">\n<script defer \
             src=\"{}\"></script>\n<script defer src=\"{}\"></script>",
            assets.uplot_style.href, assets.charts_style.href, assets.uplot.href, assets.charts.href
        )
    }

    #[expect(clippy::unused_self, reason = "templates ask the page")]
    pub(crate) fn themes(&self) -> [Theme; 3] {
        Theme::ALL
    }
}

/// `POST /ui/theme`.
pub(crate) async fn set_theme(visit: Visit, body: Body) -> Response {
    match read(body, 8 << 10).await {
        Ok(form) if visit.owns(&form) => {
            let word = form.get("theme").unwrap_or_default();
            let theme = Theme::ALL.into_iter().find(|theme| theme.word() == word).unwrap_or(Theme::System);
            let back = form.get("back").filter(|back| is_own_path(back)).unwrap_or("/");
            let mut response = Redirect::to(back).into_response();
            response
                .headers_mut()
                .append(header::SET_COOKIE, visit.console.cookie(THEME, theme.word(), YEAR_S));
            response
        }
        _ => (StatusCode::FORBIDDEN, "this form is not one of this server's pages").into_response(),
    }
}
