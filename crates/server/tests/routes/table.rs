//! Every route of the public doors, its methods, and what opens it.

use runyard_domain::Access;

/// What opens a route.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Opens {
    /// A key with this access to the endpoint in the path.
    Key(Access),
    /// The same, where the path names a job instead.
    OfJob(Access),
    /// The same, where it names a worker.
    OfWorker(Access),
    /// A key with this access to everything.
    All(Access),
    /// A key with this access, whatever it is restricted to; what it may not see is left out.
    Any(Access),
    /// Nothing: it answers that there is no such call.
    Nobody,
}

use Access::{Admin, Deploy, Read, Run};
use Opens::{All, Any, Key, Nobody, OfJob, OfWorker};

/// Path in the router, methods, and what opens them.
pub const JOBS: [(&str, &str, Opens); 22] = [
    ("/v2/{endpoint}/run", "POST", Key(Run)),
    ("/v2/{endpoint}/runsync", "POST", Key(Run)),
    ("/v2/{endpoint}/status/{job}", "GET POST", Key(Read)),
    ("/v2/{endpoint}/status-sync/{job}", "GET POST", Key(Read)),
    ("/v2/{endpoint}/stream/{job}", "GET POST", Key(Read)),
    ("/v2/{endpoint}/cancel/{job}", "POST", Key(Run)),
    ("/v2/{endpoint}/retry/{job}", "POST", Key(Run)),
    ("/v2/{endpoint}/purge-queue", "POST", Key(Run)),
    ("/v2/{endpoint}/health", "GET", Key(Read)),
    ("/v2/{endpoint}/metrics", "GET", Key(Read)),
    ("/v2/{endpoint}/requests", "GET", Key(Read)),
    ("/v2/{endpoint}/openai/{*route}", "GET POST", Key(Run)),
    ("/v2/{endpoint}/batch", "GET", Key(Read)),
    ("/v2/{endpoint}/batch", "POST", Key(Run)),
    ("/v2/{endpoint}/batch/{batch}", "GET", Key(Read)),
    ("/v2/{endpoint}/batch/{batch}", "PUT", Key(Run)),
    ("/v2/{endpoint}/batch/{batch}/finalize", "POST", Key(Run)),
    ("/v2/{endpoint}/batch/{batch}/cancel", "POST", Key(Run)),
    ("/v2/{endpoint}/batch/{batch}/requests", "GET", Key(Read)),
    ("/v2/{endpoint}/batch/{batch}/requests", "POST", Key(Run)),
    ("/v2/{endpoint}/batch/{batch}/requests/{job}", "DELETE", Key(Run)),
    ("/v2/{endpoint}/{*operation}", "GET POST", Nobody),
];

pub const MANAGE: [(&str, &str, Opens); 57] = [
    ("/api/v1/info", "GET", Any(Read)),
    ("/api/v1/config", "GET", All(Admin)),
    ("/api/v1/endpoints", "GET", Any(Read)),
    ("/api/v1/endpoints", "POST", All(Deploy)),
    ("/api/v1/endpoints/{ep}", "GET", Key(Read)),
    ("/api/v1/endpoints/{ep}", "PATCH DELETE", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/why", "GET", Key(Read)),
    ("/api/v1/endpoints/{ep}/purge", "POST", Key(Run)),
    ("/api/v1/endpoints/{ep}/restart", "POST", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/plan", "POST", Key(Read)),
    ("/api/v1/endpoints/{ep}/apply", "POST", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/releases", "GET", Key(Read)),
    ("/api/v1/endpoints/{ep}/releases", "POST", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/rollback", "POST", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/promote", "POST", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/diff", "GET", Key(Read)),
    ("/api/v1/disk", "GET", All(Admin)),
    ("/api/v1/disk/prune", "POST", All(Admin)),
    ("/api/v1/endpoints/{ep}/git", "GET", Key(Read)),
    ("/api/v1/endpoints/{ep}/git", "POST DELETE", Key(Deploy)),
    ("/api/v1/endpoints/{ep}/git/sync", "POST", Key(Deploy)),
    ("/api/v1/git", "GET", Any(Read)),
    ("/api/v1/bundles/{sha}", "PUT GET", Any(Deploy)),
    ("/api/v1/gpus", "GET", Any(Read)),
    ("/api/v1/workers", "GET", Any(Read)),
    ("/api/v1/workers/stats", "GET", Any(Read)),
    ("/api/v1/workers/{worker}/exec", "POST", OfWorker(Deploy)),
    ("/api/v1/jobs", "GET", Any(Read)),
    ("/api/v1/jobs/{id}", "GET", OfJob(Read)),
    ("/api/v1/jobs/{id}/why", "GET", OfJob(Read)),
    ("/api/v1/jobs/{id}/cancel", "POST", OfJob(Run)),
    ("/api/v1/jobs/{id}/retry", "POST", OfJob(Run)),
    ("/api/v1/jobs/{id}/token", "POST", OfJob(Run)),
    ("/api/v1/jobs/{id}/webhooks", "GET", OfJob(Read)),
    ("/api/v1/jobs/{id}/webhooks/redeliver", "POST", OfJob(Run)),
    ("/api/v1/webhooks/secret", "GET", All(Admin)),
    ("/api/v1/webhooks/secret/rotate", "POST", All(Admin)),
    ("/api/v1/logs", "GET", Any(Read)),
    ("/api/v1/endpoints/{ep}/env", "POST", Key(Deploy)),
    ("/api/v1/secrets", "GET", All(Read)),
    ("/api/v1/secrets/rotate-key", "POST", All(Admin)),
    ("/api/v1/secrets/{name}", "GET", All(Read)),
    ("/api/v1/secrets/{name}", "PUT DELETE", All(Deploy)),
    ("/api/v1/audit", "GET", All(Admin)),
    ("/api/v1/me", "GET", Any(Read)),
    ("/api/v1/members", "GET", All(Admin)),
    ("/api/v1/members", "POST", All(Admin)),
    ("/api/v1/members/{member}", "GET PATCH DELETE", All(Admin)),
    ("/api/v1/keys", "GET", All(Admin)),
    ("/api/v1/keys", "POST", All(Admin)),
    ("/api/v1/keys/{id}", "GET PATCH DELETE", All(Admin)),
    ("/api/v1/registries", "GET", All(Deploy)),
    ("/api/v1/registries", "POST", All(Admin)),
    ("/api/v1/registries/{name}", "DELETE", All(Admin)),
    ("/api/v1/{*rest}", "GET", Nobody),
    ("/api/v1/{*rest}", "POST", Nobody),
    ("/api/v1/{*rest}", "DELETE", Nobody),
];

/// Of who runs the server.
pub const OPERATOR: [(&str, &str, Opens); 2] =
    [("/api/v1/doctor", "GET", All(Admin)), ("/api/v1/backup", "POST", All(Admin))];

/// What probes ask: without a key, and answered without a word about what is there.
pub const PROBES: [&str; 2] = ["/healthz", "/readyz"];

pub const REST: [(&str, &str, Opens); 42] = [
    ("/v2/account/ssh-keys", "GET", All(Read)),
    ("/v2/account/ssh-keys", "PUT", All(Admin)),
    ("/v2/serverless", "GET", Any(Read)),
    ("/v2/serverless", "POST", All(Deploy)),
    ("/v2/serverless/{ep}", "GET", Key(Read)),
    ("/v2/serverless/{ep}", "PATCH DELETE", Key(Deploy)),
    ("/v2/serverless/{ep}/workers", "GET", Key(Read)),
    ("/v2/serverless/{ep}/releases", "GET", Key(Read)),
    ("/v2/serverless/{ep}/workers/{workerId}/logs", "GET", Key(Read)),
    ("/v2/templates", "GET", All(Read)),
    ("/v2/templates", "POST", All(Deploy)),
    ("/v2/templates/{id}", "GET", All(Read)),
    ("/v2/templates/{id}", "PATCH DELETE", All(Deploy)),
    ("/v2/network-volumes", "GET", All(Read)),
    ("/v2/network-volumes", "POST", All(Deploy)),
    ("/v2/network-volumes/{id}", "GET", All(Read)),
    ("/v2/network-volumes/{id}", "PATCH DELETE", All(Deploy)),
    ("/v2/registries", "GET", All(Read)),
    ("/v2/registries", "POST", All(Admin)),
    ("/v2/registries/{id}", "GET", All(Read)),
    ("/v2/registries/{id}", "DELETE", All(Admin)),
    ("/v2/registries/delegations", "GET", All(Read)),
    ("/v2/registries/delegations", "POST", All(Deploy)),
    ("/v2/registries/delegations/{id}", "DELETE", All(Deploy)),
    ("/v2/catalog/gpus", "GET", Any(Read)),
    ("/v2/catalog/gpus/{id}", "GET", Any(Read)),
    ("/v2/catalog/cpus", "GET", Any(Read)),
    ("/v2/catalog/cpus/{id}", "GET", Any(Read)),
    ("/v2/catalog/datacenters", "GET", Any(Read)),
    ("/v2/catalog/datacenters/{id}", "GET", Any(Read)),
    ("/v2/catalog/templates", "GET", Any(Read)),
    ("/v2/billing", "GET", Any(Read)),
    ("/v2/billing/pods", "GET", Any(Read)),
    ("/v2/billing/serverless", "GET", Any(Read)),
    ("/v2/billing/endpoints", "GET", Any(Read)),
    ("/v2/billing/network-volumes", "GET", Any(Read)),
    ("/v2/pods", "GET", Any(Read)),
    ("/v2/pods", "POST", All(Deploy)),
    ("/v2/pods/{id}", "GET", All(Read)),
    ("/v2/pods/{id}", "PATCH DELETE", All(Read)),
    ("/v2/pods/{id}/action", "POST", All(Read)),
    ("/v2/pods/{id}/logs", "GET", All(Read)),
];

pub const WORKERS: [(&str, &str); 8] = [
    ("/w/{token}/v2/{endpoint}/job-take/{worker}", "GET"),
    ("/w/{token}/v2/{endpoint}/job-take-batch/{worker}", "GET"),
    ("/w/{token}/v2/{endpoint}/job-stop/{worker}", "GET"),
    ("/w/{token}/v2/{endpoint}/ping/{worker}", "GET"),
    ("/w/{token}/v2/{endpoint}/job-done/{worker}/{job}", "POST"),
    ("/w/{token}/v2/{endpoint}/job-stream/{worker}/{job}", "POST"),
    ("/w/{token}/{*rest}", "GET"),
    ("/agent/give-back", "POST"),
];
