//! Where a file lies, for the server to remember: the same on every machine that has the repository, and with what it takes
//! to tell later whether the file is still there.

use crate::FILE;

/// What stands in the place of the file's name where a folder has none.
const FOLDER: &str = "folder";

/// A place: the file (or the folder without one) `prefix` below the root of the repository with this address, as
/// `services/t2i/runyard.toml@https://host/me/repo [env.eu]`. Without a repository nothing but the name is known.
pub fn of(url: Option<&str>, prefix: &str, environment: Option<&str>, has_file: bool) -> String {
    let what = if has_file { FILE } else { FOLDER };
    let place = match (url, prefix.trim_matches('/')) {
        (Some(url), "") => format!("{what}@{}", plain(url)),
        (Some(url), prefix) => format!("{prefix}/{what}@{}", plain(url)),
        (None, _) => what.to_owned(),
    };
    match environment {
        Some(environment) => format!("{place} [env.{environment}]"),
        None => place,
    }
}

/// The folder below the root, where `place` is that of a file of this repository in this environment.
pub fn folder<'a>(place: &'a str, url: &str, environment: Option<&str>) -> Option<&'a str> {
    let place = match environment {
        Some(environment) => place.strip_suffix(&format!(" [env.{environment}]"))?,
        None => place,
    };
    let file = place.strip_suffix(plain(url).as_str())?.strip_suffix('@')?;
    match file.strip_suffix(FILE)? {
        "" => Some(""),
        folder => folder.strip_suffix('/'),
    }
}

/// A repository's address without what opens it, and without `.git`.
fn plain(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((who, host)) if !who.contains('/') => format!("{scheme}://{host}"),
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://me:secret@host/me/repo.git";

    #[test]
    fn a_place_is_found_again() {
        for (prefix, environment) in
            [("", None), ("a/b/", None), ("a/b", Some("staging")), ("", Some("staging"))]
        {
            let place = of(Some(URL), prefix, environment, true);
            assert!(place.contains("runyard.toml@https://host/me/repo") && !place.contains("secret"));
            assert_eq!(folder(&place, URL, environment), Some(prefix.trim_matches('/')), "{place}");
            assert_eq!(folder(&place, "https://host/me/repo", environment), Some(prefix.trim_matches('/')));
            assert_eq!(folder(&place, URL, Some("other")), None);
            assert_eq!(folder(&place, "https://host/me/rep", environment), None);
            assert_eq!(folder(&place, "https://host/me", environment), None);
        }
    }

    #[test]
    fn what_is_no_file_of_a_repository_is_nobodys() {
        assert_eq!(of(None, "x", Some("eu"), true), "runyard.toml [env.eu]");
        for place in [
            "runyard.toml",
            "folder@https://host/me/repo",
            "runyard.toml@https://host/me/repo2",
            "a/xrunyard.toml@https://host/me/repo",
        ] {
            assert_eq!(folder(place, URL, None), None, "{place}");
        }
        let preview = format!("{} [pull request 7]", of(Some(URL), "a", None, true));
        assert_eq!(folder(&preview, URL, None), None);
    }
}
