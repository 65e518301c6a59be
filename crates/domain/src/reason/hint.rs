//! What to do: commands of `runyard` that fit a reason. Each of them is a whole command line; the binary's tests read
//! them with the binary's own parser.

use crate::{JobId, Settings, WorkerId};

/// What the commands are about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// Its settings.
    pub settings: &'a Settings,
    /// The job, where it is about one.
    pub job: Option<&'a JobId>,
    /// The worker that runs or starts, where there is one.
    pub worker: Option<&'a WorkerId>,
    /// The name of the release's image, where it has one.
    pub image: Option<&'a str>,
    /// The secret that is missing, where one is.
    pub secret: Option<&'a str>,
    /// The release that a rollback goes to, where the trouble began with the one that serves.
    pub back_to: Option<u32>,
    /// Whether the job ran, and so may have printed something.
    pub ran: bool,
}

/// Every code that has hints, for tests.
pub const CODES: [&str; 46] = [
    "no_release",
    "no_worker_allowed",
    "all_busy",
    "in_list",
    "in_draft",
    "no_gpu_free",
    "no_gpu_matches",
    "starting",
    "start_failing",
    "exited_before_asking",
    "scaler_waits",
    "low_priority",
    "about_to_be_taken",
    "server_draining",
    "running",
    "silent",
    "halted",
    "completed",
    "cancelled",
    "webhook_failed",
    "handler_exception",
    "handler_error",
    "worker_lost",
    "out_of_memory",
    "cuda_out_of_memory",
    "abandoned",
    "execution_timeout",
    "ttl_expired",
    "result_rejected",
    "input_unreadable",
    "environment_failed",
    "build_failed",
    "start_failed",
    "test_failed",
    "rolled_back",
    "image_not_found",
    "image_unauthorized",
    "registry_unreachable",
    "wrong_platform",
    "no_command",
    "command_not_found",
    "cuda_too_old",
    "gpu_unavailable",
    "engine_away",
    "secret_missing",
    "fitness_check_failed",
];

/// The commands for a code, the most fitting first; at least one.
pub fn hints(code: &str, about: &About<'_>) -> Vec<String> {
    let mut hints = match code {
        "running" | "silent" | "halted" | "completed" | "cancelled" | "about_to_be_taken"
        | "webhook_failed" => of_job(code, about),
        "handler_exception" | "handler_error" | "worker_lost" | "out_of_memory" | "cuda_out_of_memory"
        | "abandoned" | "execution_timeout" | "ttl_expired" | "result_rejected" | "input_unreadable" => {
            of_failure(code, about)
        }
        _ => of_wait(code, about).unwrap_or_else(|| of_release(code, about)),
    };
    hints.dedup();
    hints
}

fn set(about: &About<'_>, flags: &str) -> String {
    format!("runyard endpoints set {} {flags}", about.endpoint)
}

fn of_wait(code: &str, about: &About<'_>) -> Option<Vec<String>> {
    let (name, settings) = (about.endpoint, about.settings);
    let workers = format!("runyard workers {name}");
    Some(match code {
        "no_release" => vec![format!("runyard deploy --name {name}"), format!("runyard releases {name}")],
        "no_worker_allowed" => vec![set(about, "--max 3")],
        "all_busy" | "in_list" => {
            vec![workers, set(about, &format!("--max {}", settings.workers_max.saturating_add(1)))]
        }
        "in_draft" => vec![format!("runyard batch list {name}")],
        "no_gpu_free" => vec!["runyard gpus".to_owned(), "runyard workers".to_owned()],
        "no_gpu_matches" => vec!["runyard gpus".to_owned(), set(about, "--gpus 1")],
        "starting" => vec![about.worker.map_or(workers, |worker| format!("runyard logs --worker {worker}"))],
        "scaler_waits" => vec![set(about, "--scaler queue-delay --scaler-value 1")],
        "low_priority" => vec![set(about, "--min 1")],
        "server_draining" => vec!["runyard doctor".to_owned()],
        _ => return None,
    })
}

fn of_job(code: &str, about: &About<'_>) -> Vec<String> {
    let Some(job) = about.job else { return vec![format!("runyard workers {}", about.endpoint)] };
    match code {
        "running" => vec![format!("runyard logs --job {job} -f")],
        "silent" | "halted" => {
            let logs = about.worker.map(|worker| format!("runyard logs --worker {worker}"));
            let rest =
                [format!("runyard cancel {job}"), format!("runyard endpoints restart {}", about.endpoint)];
            logs.into_iter().chain(rest).collect()
        }
        "webhook_failed" => {
            vec![format!("runyard webhooks list {job}"), format!("runyard webhooks redeliver {job}")]
        }
        _ => vec![format!("runyard status {job}")],
    }
}

fn of_failure(code: &str, about: &About<'_>) -> Vec<String> {
    let settings = about.settings;
    let back = about.back_to.map(|to| format!("runyard rollback {} --to {to}", about.endpoint));
    let mut hints: Vec<String> = back.into_iter().collect();
    if let (Some(job), true) = (about.job, about.ran) {
        hints.push(format!("runyard logs --job {job} --context 50"));
    }
    match code {
        "out_of_memory" => hints.push(format!("runyard workers stats {}", about.endpoint)),
        "cuda_out_of_memory" => hints.push("runyard gpus".to_owned()),
        "execution_timeout" => {
            let twice = settings.execution_timeout_ms.saturating_mul(2).max(60_000) / 1_000;
            hints.push(set(about, &format!("--execution-timeout {twice}s")));
        }
        "ttl_expired" if about.ran => {
            hints.push(set(
                about,
                &format!("--ttl {}s", settings.ttl_ms.saturating_mul(2).max(60_000) / 1_000),
            ));
        }
        "ttl_expired" => {
            hints.push(set(about, &format!("--max {}", settings.workers_max.saturating_add(1))));
        }
        // The server's own limit is no setting of the endpoint.
        "result_rejected" if settings.output_limit_bytes > 0 => hints.push(set(about, "--max-output 20MB")),
        "input_unreadable" => hints.push("runyard doctor".to_owned()),
        _ => {}
    }
    if let Some(job) = about.job {
        hints.push(format!("runyard retry {job}"));
    }
    if hints.is_empty() {
        hints.push(format!("runyard logs {}", about.endpoint));
    }
    hints
}

/// Where a release does not come up, or did not.
fn of_release(code: &str, about: &About<'_>) -> Vec<String> {
    let name = about.endpoint;
    let image = about.image.unwrap_or("IMAGE");
    let fix = match code {
        "image_not_found" => format!("runyard deploy --name {name} --image {image}"),
        "image_unauthorized" => {
            let host = crate::registry::host_of(image);
            format!("runyard registries add registry --server {host} --username USER")
        }
        "no_command" | "command_not_found" => {
            format!("runyard deploy --name {name} --image {image} --command 'python -u handler.py'")
        }
        "registry_unreachable"
        | "fitness_check_failed"
        | "gpu_unavailable"
        | "engine_away"
        | "engine_refused"
        | "cuda_too_old" => "runyard doctor".to_owned(),
        "secret_missing" => format!("runyard secret set {}", about.secret.unwrap_or("NAME")),
        "test_failed" | "rolled_back" => format!("runyard releases {name}"),
        _ => format!("runyard deploy --name {name}"),
    };
    let back = about.back_to.map(|to| format!("runyard rollback {name} --to {to}"));
    let mut hints: Vec<String> = back.into_iter().chain([fix]).collect();
    if !matches!(code, "secret_missing" | "no_command") {
        hints.push(format!("runyard logs {name}"));
    }
    hints
}
