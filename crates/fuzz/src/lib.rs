//! One fuzz target for every parser of outside bytes. A target is a function of bytes that panics where a promise
//! is broken, and not only where a parser panics: what was cut out is what stood there, what was unpacked lies
//! inside, what is shown can be read back.
//!
//! The same functions run in two ways: `tests/corpus.rs` runs them over the files of `fuzz/corpus`, as part of the
//! ordinary tests, and the programs of `fuzz/` hand them to libFuzzer (`docs/fuzzing.md`).

mod access;
mod backup;
mod code;
mod git;
mod jobs;
mod output;
mod server;
mod workers;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also the name of its folder in `fuzz/corpus` and of its program in `fuzz/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("authorization", access::authorization),
    ("backup", backup::archive),
    ("catalog_entry", code::catalog_entry),
    ("certificate", server::certificate),
    ("cli_text", output::cli_text),
    ("config", server::config),
    ("error_object", workers::error_object),
    ("forwarded", server::forwarded),
    ("git_address", git::address),
    ("git_hook", git::hook),
    ("git_hub", git::hub),
    ("git_lfs", git::lfs),
    ("git_modules", git::modules),
    ("git_pulls", git::pulls),
    ("gpus", server::gpus),
    ("id_token", access::id_token),
    ("ids", access::ids),
    ("ignore_files", code::ignore_files),
    ("job_headers", jobs::headers),
    ("job_query", jobs::query),
    ("job_token", access::job_token),
    ("json_scan", jobs::json_scan),
    ("key_file", access::key_file),
    ("local_request", access::local_request),
    ("list_pages", server::list_pages),
    ("log_line", output::log_line),
    ("log_output", output::log_output),
    ("log_query", output::log_query),
    ("log_segment", output::log_segment),
    ("manage_bodies", server::manage_bodies),
    ("origin", server::origin),
    ("plain_text", output::plain_text),
    ("project_file", code::project_file),
    ("python_source", code::python_source),
    ("registry_challenge", access::registry_challenge),
    ("registry_names", workers::registry_names),
    ("requirements", code::requirements),
    ("rest_bodies", server::rest_bodies),
    ("runtime_wire", workers::runtime_wire),
    ("session_frames", workers::session_frames),
    ("sign_in", access::sign_in),
    ("splice", jobs::splice),
    ("secret_references", access::secret_references),
    ("spool", workers::spool),
    ("submission", jobs::submission),
    ("test_cases", code::test_cases),
    ("traceback", workers::traceback),
    ("unpack", code::unpack),
    ("user_agent", workers::user_agent),
    ("webhook_url", server::webhook_url),
    ("worker_path", workers::path),
    ("worker_post", workers::post),
];

/// Runs the target of this name.
///
/// # Panics
/// Where there is none, and where the target finds a promise broken.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.expect("every program of fuzz/ is named after a target");
    target(data);
}

/// The bytes as text, without what is not UTF-8.
fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// Two texts of one input: up to the first line feed, and the rest.
fn two(data: &[u8]) -> (String, String) {
    let text = text(data);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    (first.to_owned(), rest.to_owned())
}
