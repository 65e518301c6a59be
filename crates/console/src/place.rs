//! Which page an address means. Pages and the stream that keeps them fresh read it with the same function.

use crate::call::Trouble;

/// What stands behind the question mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// A value that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// The same with one value another, as text.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        out.extend_pairs(self.0.iter().filter(|(found, value)| found != name && !value.is_empty()));
        if !value.is_empty() {
            out.append_pair(name, value);
        }
        out.finish()
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        self.with("", "")
    }
}

/// A tab of an endpoint's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Overview,
    Requests,
    Workers,
    Logs,
    Metrics,
    Telemetry,
    Releases,
    Settings,
}

impl Tab {
    pub(crate) const ALL: [Self; 8] = [
        Self::Overview,
        Self::Requests,
        Self::Workers,
        Self::Logs,
        Self::Metrics,
        Self::Telemetry,
        Self::Releases,
        Self::Settings,
    ];

    /// Its part of the address.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Overview => "",
            Self::Requests => "requests",
            Self::Workers => "workers",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Telemetry => "telemetry",
            Self::Releases => "releases",
            Self::Settings => "settings",
        }
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Requests => "Requests",
            Self::Workers => "Workers",
            Self::Logs => "Logs",
            Self::Metrics => "Metrics",
            Self::Telemetry => "Telemetry",
            Self::Releases => "Releases",
            Self::Settings => "Settings",
        }
    }

    /// Its address.
    pub(crate) fn href(self, ep: &str) -> String {
        match self {
            Self::Overview => format!("/e/{ep}"),
            tab => format!("/e/{ep}/{}", tab.slug()),
        }
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Endpoints,
    Endpoint {
        ep: String,
        tab: Tab,
    },
    /// Where an endpoint is made.
    New,
    /// A release of an endpoint.
    Release {
        ep: String,
        number: u32,
    },
    Catalogue,
    Entry(String),
    Git,
    Jobs,
    Job(String),
    Keys,
    Secrets,
    Activity,
    Templates,
    Volumes,
    Registries,
    SshKeys,
    Members,
    Usage,
    Disk,
    Server,
    Search,
    /// A terminal beside a worker.
    Terminal(String),
}

impl Place {
    /// The page at a path.
    pub(crate) fn parse(path: &str) -> Result<Self, Trouble> {
        let missing = || Trouble::no_page(path);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        // Ids and names have none of the letters that mean something in an address.
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if path.len() > 400 || !parts.iter().all(|part| plain(part)) {
            return Err(missing());
        }
        let place = match parts[..] {
            [""] => Self::Overview,
            ["endpoints"] => Self::Endpoints,
            ["endpoints", "new"] => Self::New,
            ["catalogue"] => Self::Catalogue,
            ["catalogue", entry] => Self::Entry(entry.to_owned()),
            ["git"] => Self::Git,
            ["e", ep] => Self::Endpoint { ep: ep.to_owned(), tab: Tab::Overview },
            ["e", ep, slug] => {
                let tab = Tab::ALL.into_iter().find(|tab| tab.slug() == slug).ok_or_else(missing)?;
                Self::Endpoint { ep: ep.to_owned(), tab }
            }
            ["e", ep, "releases", number] => {
                let number = number.parse().map_err(|_| missing())?;
                Self::Release { ep: ep.to_owned(), number }
            }
            ["jobs"] => Self::Jobs,
            ["jobs", id] => Self::Job(id.to_owned()),
            ["keys"] => Self::Keys,
            ["secrets"] => Self::Secrets,
            ["activity"] => Self::Activity,
            ["templates"] => Self::Templates,
            ["volumes"] => Self::Volumes,
            ["registries"] => Self::Registries,
            ["ssh-keys"] => Self::SshKeys,
            ["members"] => Self::Members,
            ["usage"] => Self::Usage,
            ["disk"] => Self::Disk,
            ["server"] => Self::Server,
            ["search"] => Self::Search,
            ["workers", id, "terminal"] => Self::Terminal(id.to_owned()),
            _ => return Err(missing()),
        };
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_pages_or_nothing() {
        let of = |path| Place::parse(path).ok();
        assert_eq!(of("/"), Some(Place::Overview));
        assert_eq!(of("/e/llm"), Some(Place::Endpoint { ep: "llm".into(), tab: Tab::Overview }));
        assert_eq!(of("/e/a.b_c-1/logs"), Some(Place::Endpoint { ep: "a.b_c-1".into(), tab: Tab::Logs }));
        assert_eq!(of("/jobs/x-1"), Some(Place::Job("x-1".into())));
        assert_eq!(of("/e/a/releases/3"), Some(Place::Release { ep: "a".into(), number: 3 }));
        assert_eq!(of("/catalogue/llm"), Some(Place::Entry("llm".into())));
        for none in [
            "/e/a/b/c",
            "/e/a/releases/x",
            "/e/a/other",
            "/e/%2e%2e/logs",
            "/jobs/a%2fb",
            "//evil",
            "/e/<script>",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_query_is_changed_in_one_value() {
        let query = Query::parse("status=FAILED&q=a%26b&empty=");
        assert_eq!(query.get("q"), Some("a&b"));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.with("status", ""), "q=a%26b");
        assert_eq!(query.with("cursor", "j1"), "status=FAILED&q=a%26b&cursor=j1");
    }
}
