//! What `why` says to do can be typed: every hint of every reason is read by this command line.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use runyard_domain::reason::hint::{About, CODES, hints};
use runyard_domain::{JobId, Settings, WorkerId};

use crate::help;

/// The words of a line, as a shell has them.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn every_hint_is_a_command() {
    let settings = Settings::default();
    let (job, worker) =
        (JobId::new("3f2c9a1e-0000-4000-8000-123456789abc-u1"), WorkerId::new("w7k2w7k2w7k2w7"));
    let bare = About {
        endpoint: "t2i",
        settings: &settings,
        job: None,
        worker: None,
        image: None,
        secret: None,
        back_to: None,
        ran: false,
    };
    let full = About {
        job: Some(&job),
        worker: Some(&worker),
        image: Some("registry.example.com/t2i:v1"),
        secret: Some("HF_TOKEN"),
        back_to: Some(13),
        ran: true,
        ..bare
    };
    for code in CODES {
        for about in [bare, About { job: Some(&job), ..bare }, full] {
            let found = hints(code, &about);
            assert!(!found.is_empty(), "{code} has no hint");
            for hint in found {
                let parsed = help::command().try_get_matches_from(words(&hint));
                assert!(parsed.is_ok(), "{code}: {hint}\n{}", parsed.unwrap_err());
            }
        }
    }
}

#[test]
fn a_failure_that_began_with_a_release_leads_back() {
    let settings = Settings { execution_timeout_ms: 600_000, ..Settings::default() };
    let job = JobId::new("j");
    let about = About {
        endpoint: "t2i",
        settings: &settings,
        job: Some(&job),
        worker: None,
        image: None,
        secret: None,
        back_to: Some(13),
        ran: true,
    };
    assert_eq!(
        hints("cuda_out_of_memory", &about),
        [
            "runyard rollback t2i --to 13",
            "runyard logs --job j --context 50",
            "runyard gpus",
            "runyard retry j"
        ]
    );
    let about = About { back_to: None, ..about };
    assert!(
        hints("execution_timeout", &about)
            .contains(&"runyard endpoints set t2i --execution-timeout 1200s".to_owned())
    );
}
