//! What users and operators write to the server: its configuration, bodies of the management API, webhooks' URLs.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use runyard_domain::gpu::Inventory;
use runyard_domain::{Gpu, Gpus, Origin};
use runyard_server::config::{Config, Flags};

use http::{HeaderMap, HeaderValue};
use runyard_listener::Networks;

use crate::two;

/// A configuration is read whole or refused with words that name the file.
pub fn config(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("server.toml");
    fs::write(&file, data).expect("written");
    match Config::load(&file, &Flags::default()) {
        Ok(config) => assert!((1..=100).contains(&config.webhook_tries)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bodies are refused or read; settings that pass are within every bound, and stay so when they are stored.
pub fn manage_bodies(data: &[u8]) {
    runyard_manage::probe::bodies(data);
    if let Some(settings) = runyard_manage::probe::settings(data) {
        settings.check().expect("settings that pass are within their bounds");
        let stored = serde_json::to_string(&settings).expect("settings have a JSON form");
        assert_eq!(serde_json::from_str::<runyard_domain::Settings>(&stored).expect("read back"), settings);
    }
}

/// A cursor is refused, or leads to a page that is in order and followed by what it leaves out; a change is let through
/// only by who names the version.
pub fn list_pages(data: &[u8]) {
    let (cursor, wanted) = two(data);
    if let Some((page, next)) = runyard_manage::probe::page(&cursor) {
        assert!(page.len() <= 3 && page.is_sorted(), "{page:?}");
        let following = next.and_then(|next| runyard_manage::probe::page(&next));
        let first = following.and_then(|(page, _)| page.first().copied());
        assert_eq!(first, page.last().map(|last| last + 1).filter(|n| *n <= 9), "{page:?}");
    }
    let version = "\"5f\"";
    if runyard_manage::probe::may_change(&wanted, version) {
        assert!(wanted.contains(version) || wanted.contains('*'), "{wanted}");
        assert!(wanted.contains(version) || !runyard_manage::probe::may_change(&wanted, ""), "{wanted}");
    }
}

/// A body of REST v2 is taken, or refused in words; what is wrong with it is told by its place, and not without end.
pub fn rest_bodies(data: &[u8]) {
    for (words, errors) in runyard_manage::probe::rest_refusals(data) {
        assert!(!words.is_empty() && errors.len() <= 20, "{words}: {errors:?}");
        for error in &errors {
            assert!(error.starts_with('$') && error.contains(": "), "{error}");
        }
    }
}

/// A URL that is taken apart can be put together again, is what an HTTP library reads in it, and a redirect from it
/// never leads from https to http.
pub fn webhook_url(data: &[u8]) {
    let (from, location) = two(data);
    let Ok((https, authority, host, port, path)) = runyard_webhooks::probe::parse(&from) else { return };
    let scheme = if https { "https" } else { "http" };
    let shown = format!("{scheme}://{authority}{path}");
    let again = runyard_webhooks::probe::parse(&shown);
    assert_eq!(again, Ok((https, authority.clone(), host.clone(), port, path.clone())), "{shown}");
    assert!(path.starts_with('/') && !host.is_empty() && !host.contains(['@', '/']), "{shown}");
    assert!(HeaderValue::from_str(&authority).is_ok(), "{authority:?} cannot stand in a header");
    if let Ok((next, ..)) = runyard_webhooks::probe::join(&from, &location) {
        assert!(next || !https, "{from} redirects to {location}");
    }
}

/// When a certificate ends is found, or that it is none; nothing is read beyond its bytes.
pub fn certificate(data: &[u8]) {
    if let Some(end) = runyard_listener::probe::not_after(data) {
        // The years 0000 to 9999, as its digits can say.
        assert!((-62_200_000_000..=253_500_000_000).contains(&end), "{end}");
    }
}

/// Whatever a header says: without trust the other side is the client, and with trust it is never one of the trusted
/// while another stands before it.
pub fn forwarded(data: &[u8]) {
    let (networks, line) = two(data);
    let peer = IpAddr::from([192, 0, 2, 1]);
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_str(line.trim_end()) else { return };
    headers.insert("x-forwarded-for", value);
    let nobody = Networks::default();
    assert_eq!(runyard_server::client::address_of(peer, &headers, &nobody), peer);
    let Ok(trusted) = networks.parse::<Networks>() else { return };
    assert_eq!(trusted.to_string().parse(), Ok(trusted.clone()), "{networks}");
    let found = runyard_server::client::address_of(peer, &headers, &trusted);
    assert!(found == peer || trusted.contain(peer), "{found} was believed");
}

/// GPUs that are asked for, and those of a machine, are read back from how they are written; what is given out is there.
pub fn gpus(data: &[u8]) {
    let (machine, wish) = two(data);
    let machine = match machine.parse::<Inventory>() {
        Ok(machine) => {
            assert_eq!(machine.to_string().parse(), Ok(machine.clone()));
            match machine {
                Inventory::Count(count) => vec![Gpu::named("GPU"); count as usize],
                Inventory::These(gpus) => gpus,
            }
        }
        Err(why) => {
            assert!(!why.is_empty());
            Vec::new()
        }
    };
    assert!(machine.len() <= 64);
    let Ok(wish) = wish.parse::<Gpus>() else { return };
    assert_eq!(wish.to_string().parse(), Ok(wish.clone()));
    let json = serde_json::to_string(&wish).expect("JSON");
    assert_eq!(serde_json::from_str::<Gpus>(&json).expect("the same"), wish, "{json}");
    let given = wish.groups(&machine).concat();
    let each: BTreeSet<u32> = given.iter().copied().collect();
    assert_eq!(each.len(), given.len(), "one GPU is given twice");
    assert!(each.iter().all(|index| (*index as usize) < machine.len()));
    assert!(!wish.words().is_empty());
}

/// An origin is read back from how it is written, and admits itself.
pub fn origin(data: &[u8]) {
    let (text, other) = two(data);
    let Ok(origin) = text.parse::<Origin>() else { return };
    let written = origin.to_string();
    assert_eq!(written.parse(), Ok(origin.clone()), "{written}");
    assert!(origin.admits(&written));
    assert!(origin == Origin::Any || origin.admits(&other) == other.eq_ignore_ascii_case(&written));
}
