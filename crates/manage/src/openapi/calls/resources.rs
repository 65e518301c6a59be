//! What endpoints share, what this machine has and costs, and what was used. The handlers are those of REST v2.

use runyard_domain::Access::{Admin, Deploy, Read};
use serde_json::{Value, json};

use super::super::operation::Operation;
use super::super::settings;
use super::super::shape::{
    any, flag, form, list, map, named, object, or_null, request, small, text, text_to, whole, within, word,
};
use super::{Tagged, by, page, whole_list};
use crate::entries;

fn name() -> Value {
    text_to(255)
}

fn template(is_new: bool) -> Value {
    let disk = request([("size", within(10, i64::from(u32::MAX))), ("path", text_to(1_000))]);
    let mut body = request([
        ("name", name()),
        ("image", text_to(512)),
        ("args?", text()),
        ("disk?", within(1, i64::from(u32::MAX))),
        ("env?", map(text())),
        ("ports?", list(form("^[0-9]{1,5}/(http|tcp)$"))),
        ("registry?", or_null(text())),
        ("mounts?", request([("persistent?", or_null(disk))])),
        ("serverless?", flag()),
        ("public?", flag()),
        ("category?", word(&["CPU", "NVIDIA", "AMD"])),
        ("startSsh?", flag()),
        ("startJupyter?", flag()),
        ("allowedCudaVersions?", list(form("^[0-9]{1,2}\\.[0-9]{1,2}$"))),
    ]);
    if let (false, Some(body)) = (is_new, body.as_object_mut()) {
        body.remove("required");
    }
    body
}

pub(super) fn resources() -> Tagged {
    let volume = request([
        ("name", name()),
        ("size", within(10, 4_096)),
        ("dataCenter", name()),
        ("type?", word(&["STANDARD", "HIGH_PERFORMANCE"])),
    ]);
    let mut larger = request([("name?", name()), ("size?", within(10, 4_096))]);
    larger["minProperties"] = json!(1);
    let all = vec![
        Operation::new("GET /api/v1/templates", "listTemplates", Read, by("templates list"), "Templates")
            .paged()
            .answers(page("templates", "Template")),
        Operation::new(
            "POST /api/v1/templates",
            "createTemplate",
            Deploy,
            by("templates create"),
            "Makes a template",
        )
        .takes_by_hand(template(true))
        .answers_as(201, "application/json", named("Template"))
        .conflicts()
        .may_fail(&[404]),
        Operation::new("GET /api/v1/templates/{id}", "getTemplate", Read, by("templates show"), "A template")
            .answers(named("Template"))
            .tagged(),
        Operation::new(
            "PATCH /api/v1/templates/{id}",
            "changeTemplate",
            Deploy,
            by("templates set"),
            "Changes the fields that are named; nothing happens to endpoints",
        )
        .takes_by_hand(template(false))
        .answers(named("Template"))
        .conflicts()
        .guarded(),
        Operation::new(
            "DELETE /api/v1/templates/{id}",
            "removeTemplate",
            Deploy,
            by("templates rm"),
            "Removes it",
        )
        .answers_nothing()
        .guarded(),
        Operation::new("GET /api/v1/volumes", "listVolumes", Read, by("volumes list"), "Network volumes")
            .paged()
            .answers(page("networkVolumes", "NetworkVolume")),
        Operation::new(
            "POST /api/v1/volumes",
            "createVolume",
            Deploy,
            by("volumes create"),
            "Makes a network volume",
        )
        .takes_by_hand(volume)
        .answers_as(201, "application/json", named("NetworkVolume")),
        Operation::new("GET /api/v1/volumes/{id}", "getVolume", Read, by("volumes show"), "A network volume")
            .answers(named("NetworkVolume"))
            .tagged(),
        Operation::new(
            "PATCH /api/v1/volumes/{id}",
            "changeVolume",
            Deploy,
            by("volumes set"),
            "Gives it another name, or makes it larger",
        )
        .takes_by_hand(larger)
        .answers(named("NetworkVolume"))
        .guarded(),
        Operation::new(
            "DELETE /api/v1/volumes/{id}",
            "removeVolume",
            Deploy,
            by("volumes rm"),
            "Removes it with what is in it; not one that an endpoint uses",
        )
        .answers_nothing()
        .conflicts()
        .guarded(),
        Operation::new("GET /api/v1/ssh-keys", "listSshKeys", Read, by("ssh-keys list"), "Public SSH keys")
            .answers(named("SshKeys"))
            .tagged(),
        Operation::new(
            "PUT /api/v1/ssh-keys",
            "replaceSshKeys",
            Admin,
            by("ssh-keys add"),
            "Replaces all of them",
        )
        .takes_by_hand(request([("keys", keys())]))
        .answers(named("SshKeys"))
        .guarded(),
    ];
    ("resources", all)
}

fn keys() -> Value {
    let key = form("^(ssh|ecdsa|sk)-[A-Za-z0-9@._-]+ [A-Za-z0-9+/=]+( [^\\r\\n]*)?$");
    let mut keys = list(key);
    keys["maxItems"] = json!(1_000);
    keys
}

fn gpu_here() -> Value {
    object([
        ("index", whole()),
        ("type", text()),
        ("memoryGb", whole()),
        ("pool", or_null(text())),
        ("free", flag()),
        ("worker", or_null(text())),
        ("endpoint", or_null(text())),
        ("endpointName", or_null(text())),
    ])
}

/// What of this machine a wish could get.
fn wish() -> Value {
    object([
        ("words", text()),
        ("count", small()),
        ("fits", list(list(whole()))),
        ("free", whole()),
        ("why", or_null(text())),
        ("costPerHour", any()),
    ])
}

pub(super) fn catalogue() -> Tagged {
    let include = || list(word(&["AVAILABILITY"]));
    let product = |more: &[&str]| list(word(&[&["POD", "SERVERLESS"], more].concat()));
    let gpu = |call, id, words| {
        Operation::new(call, id, Read, by("catalog gpus"), words)
            .query("include", include(), "also how many are free; needs `product`")
            .query("product", product(&["CLUSTER"]), "what it is asked for")
            .query("count", within(1, 1_000), "how many at once")
    };
    let cpu = |call, id, words| {
        Operation::new(call, id, Read, by("catalog cpus"), words)
            .query("include", include(), "also how many are free; needs `product`")
            .query("product", product(&[]), "what it is asked for")
            .query("vcpuCount", within(2, 1_000), "how many at once")
    };
    let center = |call, id, words| {
        let what = list(word(&["GPU_AVAILABILITY", "CPU_AVAILABILITY"]));
        Operation::new(call, id, Read, by("catalog datacenters"), words).query(
            "include",
            what,
            "also what is free",
        )
    };
    let mut all = vec![
        gpu("GET /api/v1/catalog/gpus", "listGpus", "The kind of GPU that is here, and what it costs")
            .answers(whole_list("gpus", "Gpu")),
        gpu("GET /api/v1/catalog/gpus/{id}", "getGpu", "A kind of GPU").answers(named("Gpu")),
        cpu("GET /api/v1/catalog/cpus", "listCpus", "Flavours of processors, and what they cost")
            .answers(whole_list("cpus", "Cpu")),
        cpu("GET /api/v1/catalog/cpus/{id}", "getCpu", "A flavour of processors").answers(named("Cpu")),
        center("GET /api/v1/catalog/datacenters", "listDataCenters", "This machine, as a data centre")
            .answers(whole_list("dataCenters", "DataCenter")),
        center("GET /api/v1/catalog/datacenters/{id}", "getDataCenter", "A data centre")
            .answers(named("DataCenter")),
    ];
    all.extend(entries());
    all.push(
        Operation::new(
            "GET /api/v1/gpus",
            "listMachineGpus",
            Read,
            by("gpus"),
            "Each GPU of this machine, and who holds it",
        )
        .query(
            "wish",
            text_to(1_000),
            "GPUs as a setting has them: also which of them would do, and what they cost",
        )
        .query("min", small(), "workers that are always kept, for the cost")
        .query("max", small(), "the most workers, for the cost")
        .answers(object([("gpus", list(gpu_here())), ("wish?", wish())])),
    );
    let bills = [
        ("GET /api/v1/billing", "getBilling", "What was used of everything", None),
        ("GET /api/v1/billing/serverless", "getServerlessBilling", "Of endpoints", Some("serverlessId")),
        ("GET /api/v1/billing/volumes", "getVolumeBilling", "Of network volumes", Some("networkVolumeId")),
    ];
    all.extend(bills.map(|(call, id, words, of)| {
        let moment = || json!({"type": "string", "format": "date-time"});
        let bill = Operation::new(call, id, Read, by("billing"), words)
            .query("bucketSize", word(&["hour", "day", "week", "month", "year"]), "how long each record is")
            .query("startTime", moment(), "from then on")
            .query("endTime", moment(), "until then")
            .query("lastN", within(1, 10_000), "so many buckets back");
        let bill = of.into_iter().fold(bill, |bill, of| bill.query(of, text(), "only of this one"));
        bill.answers(named("Billing"))
    }));
    ("catalogue", all)
}

/// The catalogue of what can be deployed.
fn entries() -> [Operation; 3] {
    [
        Operation::new(
            "GET /api/v1/catalog/entries",
            "listCatalogEntries",
            Read,
            by("quick"),
            "What can be deployed by one call: the shipped examples and own entries",
        )
        .paged()
        .answers(page("entries", "CatalogEntry")),
        Operation::new(
            "GET /api/v1/catalog/entries/{entry}",
            "getCatalogEntry",
            Read,
            by("quick"),
            "An entry, with its README",
        )
        .answers(named("CatalogEntry")),
        Operation::new(
            "POST /api/v1/catalog/entries/{entry}/deploy",
            "deployCatalogEntry",
            Deploy,
            by("quick"),
            "Makes an endpoint of an entry",
        )
        .takes::<entries::Deploy>(request([
            ("name?", or_null(text_to(64))),
            ("preset?", or_null(text())),
            ("env?", map(text())),
            ("secretEnv?", map(or_null(text()))),
            ("settings?", settings::asked()),
            ("note?", or_null(text())),
            ("replace?", flag()),
            ("tests?", or_null(flag())),
        ]))
        .answers_lines(&named("Step"))
        .conflicts(),
    ]
}
