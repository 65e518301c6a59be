//! What a worker's request is about, read from its path: `/w/{token}/v2/{endpoint}/{verb}/{worker}[/{job}]`.

use http::Uri;
use runyard_domain::JobId;

/// What a worker wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Jobs; it waits for them.
    Take,
    /// To hear which jobs to stop; it waits for that.
    Stop,
    /// To show that it lives.
    Ping,
    /// To tell a job's result, or how far it is.
    Done(JobId),
    /// To tell a part of a job's result.
    Stream(JobId),
    /// Something that only the server knows.
    Other,
}

/// A worker's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The token that it shows.
    pub token: String,
    /// What it wants.
    pub wish: Wish,
    /// The path and query as they go on to the server.
    pub path: String,
}

/// Reads a path with its query; `None` where it is none of a worker's.
pub fn parse(path_and_query: &str) -> Option<Route> {
    // A template without `?` makes SDKs write `…/job-take/<id>&job_in_progress=0`.
    let path = match (path_and_query.contains('?'), path_and_query.find('&')) {
        (false, Some(at)) => {
            let asked = format!("{}?{}", &path_and_query[..at], &path_and_query[at + 1..]);
            // What may stand in a path may not always stand in a query; the server reads it either way.
            if asked.parse::<Uri>().is_ok() { asked } else { path_and_query.to_owned() }
        }
        _ => path_and_query.to_owned(),
    };
    let bare = path.split(['?', '&']).next().unwrap_or(&path);
    let mut parts = bare.split('/').skip(1);
    if parts.next()? != "w" {
        return None;
    }
    let token = parts.next()?.to_owned();
    let _version = parts.next()?;
    let _endpoint = parts.next()?;
    let verb = parts.next()?;
    let _worker = parts.next();
    let job = parts.next().and_then(|job| JobId::parse(job).ok());
    let wish = match (verb, job) {
        ("job-take" | "job-take-batch", _) => Wish::Take,
        ("job-stop", _) => Wish::Stop,
        ("ping", _) => Wish::Ping,
        ("job-done", Some(job)) => Wish::Done(job),
        ("job-stream", Some(job)) => Wish::Stream(job),
        _ => Wish::Other,
    };
    Some(Route { token, wish, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(path: &str) -> Option<Wish> {
        parse(path).map(|route| route.wish)
    }

    #[test]
    fn workers_paths_are_told_apart() {
        assert_eq!(wish("/w/t/v2/ep/job-take/w1?gpu=X&job_in_progress=0"), Some(Wish::Take));
        assert_eq!(wish("/w/t/v2/ep/job-take-batch/w1?batch_size=3"), Some(Wish::Take));
        assert_eq!(wish("/w/t/v2/ep/job-stop/w1"), Some(Wish::Stop));
        assert_eq!(wish("/w/t/v2/ep/ping/w1?job_id=a%2Cb"), Some(Wish::Ping));
        assert_eq!(wish("/w/t/v2/ep/job-done/w1/j-u1?isStream=false"), Some(Wish::Done(JobId::new("j-u1"))));
        assert_eq!(wish("/w/t/v2/ep/job-stream/w1/j-u1"), Some(Wish::Stream(JobId::new("j-u1"))));
        assert_eq!(wish("/w/t/v2/ep/job-done/w1"), Some(Wish::Other));
        assert_eq!(wish("/v2/ep/job-take/w1"), None);
        assert_eq!(wish("/"), None);
    }

    #[test]
    fn a_missing_question_mark_is_put_in() {
        let route = parse("/w/t/v2/ep/job-take/w1&job_in_progress=0").map(|route| (route.wish, route.path));
        assert_eq!(route, Some((Wish::Take, "/w/t/v2/ep/job-take/w1?job_in_progress=0".to_owned())));
        // A quote cannot stand in a query, and what cannot be sent on would wait in the spool for ever.
        let odd = "/w/t/v2/ep/job-done/w1/j-u1&\"";
        let route = parse(odd).map(|route| (route.wish, route.path));
        assert_eq!(route, Some((Wish::Done(JobId::new("j-u1")), odd.to_owned())));
    }
}
