//! The wish for GPUs as a form: how many, kinds in order of preference, what is excluded; and what of this machine it
//! means, in a sentence.

use runyard_domain::Gpus;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Trouble, encoded};
use crate::forms::Form;
use crate::session::Visit;

/// As many kinds are asked for.
const KINDS: usize = 4;

/// A GPU of this machine.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gpu {
    #[serde(rename = "type")]
    kind: String,
    memory_gb: u32,
    pool: Option<String>,
}

#[derive(Deserialize)]
struct Inventory {
    gpus: Vec<Gpu>,
    wish: Option<Wish>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    words: String,
    count: u32,
    fits: Vec<Vec<usize>>,
    free: u32,
    why: Option<String>,
    cost_per_hour: Cost,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    max: Option<f64>,
    workers_max: u32,
    unknown: Option<String>,
}

/// The editor of a wish.
pub(crate) struct Editor {
    pub(crate) count: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) excluded: String,
    /// What there is to choose from, with a word about each.
    pub(crate) choices: Vec<(String, String)>,
    /// What this machine has, in a sentence.
    pub(crate) machine: String,
}

impl Editor {
    /// The editor of a form that came back, else of a setting.
    pub(crate) async fn load(visit: &Visit, setting: &Value, form: Option<&Form>) -> Result<Self, Trouble> {
        let Inventory { gpus, .. } = visit.get("/api/v1/gpus").await?;
        let now: Gpus = serde_json::from_value(setting.clone()).unwrap_or_default();
        let mut kinds: Vec<String> = now.kinds().iter().map(ToString::to_string).collect();
        if kinds == ["any"] {
            kinds.clear();
        }
        let mut editor = Self {
            count: now.count().to_string(),
            kinds,
            excluded: now.excluded().join(", "),
            choices: choices(&gpus),
            machine: machine(&gpus),
        };
        if let Some(form) = form.filter(|form| form.get("gpu_count").is_some()) {
            form.get("gpu_count").unwrap_or_default().clone_into(&mut editor.count);
            editor.kinds = form.column("gpu_kind").into_iter().map(str::to_owned).collect();
            form.get("gpu_not").unwrap_or_default().clone_into(&mut editor.excluded);
        }
        // A longer wish than the form has room for stays whole.
        let room = KINDS.max(editor.kinds.len());
        editor.kinds.resize(room, String::new());
        Ok(editor)
    }
}

/// What may be wished for: the types that are here, their memories, their pools.
fn choices(gpus: &[Gpu]) -> Vec<(String, String)> {
    let mut choices: Vec<(String, String)> = Vec::new();
    let mut add = |value: String, words: String| {
        if choices.iter().all(|(known, _)| *known != value) {
            choices.push((value, words));
        }
    };
    for gpu in gpus {
        let count = gpus.iter().filter(|other| other.kind == gpu.kind).count();
        add(gpu.kind.clone(), format!("{count} here"));
    }
    let mut sizes: Vec<u32> = gpus.iter().map(|gpu| gpu.memory_gb).filter(|size| *size > 0).collect();
    if sizes.is_empty() {
        sizes = vec![16, 24, 48, 80];
    }
    sizes.sort_unstable();
    for size in sizes {
        add(format!("{size}GB"), "so much memory or more".to_owned());
    }
    for pool in gpus.iter().filter_map(|gpu| gpu.pool.clone()) {
        add(pool, "a pool of RunPod's".to_owned());
    }
    choices
}

fn machine(gpus: &[Gpu]) -> String {
    let mut kinds: Vec<(&str, u32, usize)> = Vec::new();
    for gpu in gpus {
        match kinds.iter_mut().find(|(name, ..)| *name == gpu.kind) {
            Some((.., count)) => *count += 1,
            None => kinds.push((&gpu.kind, gpu.memory_gb, 1)),
        }
    }
    let one = |(name, memory, count): &(&str, u32, usize)| match memory {
        0 => format!("{count} × {name}"),
        memory => format!("{count} × {name}, {memory} GB"),
    };
    match kinds.as_slice() {
        [] => "This machine has no GPU: a wish is kept, and jobs wait until there is one.".to_owned(),
        kinds => format!("This machine has {}.", kinds.iter().map(one).collect::<Vec<_>>().join("; ")),
    }
}

/// The wish of a form, as the setting has it; none where the form has no such part.
pub(crate) fn wish(form: &Form) -> Option<Result<Value, String>> {
    let count = form.get("gpu_count")?.trim();
    let count = if count.is_empty() { "0" } else { count };
    let Ok(count) = count.parse::<u32>() else {
        return Some(Err(format!(
            "GPUs of each worker: '{}' is no number",
            count.chars().take(40).collect::<String>()
        )));
    };
    let mut items: Vec<String> = form
        .column("gpu_kind")
        .into_iter()
        .map(str::trim)
        .filter(|kind| !kind.is_empty())
        // One who writes the number before the kind says it again.
        .map(|kind| {
            if count > 1 && !kind.contains(['x', 'X']) { format!("{count}x{kind}") } else { kind.to_owned() }
        })
        .collect();
    let not =
        form.get("gpu_not").unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let not: Vec<String> = not.map(|name| format!("-{}", name.trim_start_matches('-'))).collect();
    if items.is_empty() && !not.is_empty() {
        items.push(if count > 1 { format!("{count}xany") } else { "any".to_owned() });
    }
    items.extend(not);
    let value = match (count, items.as_slice()) {
        (0, _) | (_, []) => json!(count),
        (_, [one]) => json!(one),
        (_, all) => json!(all),
    };
    Some(match serde_json::from_value::<Gpus>(value.clone()) {
        Ok(_) => Ok(value),
        Err(error) => Err(error.to_string()),
    })
}

/// What a wish means on this machine now, and what it costs, each in a sentence.
pub(crate) async fn told(visit: &Visit, setting: &Value, min: u64, max: u64) -> Vec<(bool, String)> {
    let gpus: Gpus = serde_json::from_value(setting.clone()).unwrap_or_default();
    let path = format!("/api/v1/gpus?wish={}&min={min}&max={max}", encoded(&gpus.to_string()));
    let Inventory { gpus, wish } = match visit.get(&path).await {
        Ok(inventory) => inventory,
        Err(trouble) => return vec![(false, trouble.words())],
    };
    let Some(wish) = wish else { return Vec::new() };
    let mut told = Vec::new();
    if wish.count == 0 {
        told.push((true, "Workers get no GPU.".to_owned()));
    } else if let Some(why) = &wish.why {
        told.push((gpus.is_empty(), sentence(why)));
    } else {
        let name =
            |group: &Vec<usize>| group.first().and_then(|at| gpus.get(*at)).map(|gpu| gpu.kind.clone());
        let names: Vec<String> = wish.fits.iter().filter_map(name).collect();
        let total: usize = wish.fits.iter().map(Vec::len).sum();
        told.push((
            true,
            format!(
                "{} means {} here: {} of {total} free now.",
                sentence(&wish.words),
                names.join(", then "),
                wish.free
            ),
        ));
    }
    let Cost { max, workers_max, unknown } = wish.cost_per_hour;
    told.push(match (max, unknown) {
        (Some(sum), _) => (true, format!("At most {sum} an hour, with {workers_max} workers.")),
        (None, Some(why)) => (true, format!("What it costs is not known: {why}.")),
        (None, None) => return told,
    });
    told
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_wish() {
        for (form, expected) in [
            ("gpu_count=0&gpu_kind=L4", json!(0)),
            ("gpu_count=&gpu_kind=", json!(0)),
            ("gpu_count=2&gpu_kind=&gpu_kind=", json!(2)),
            ("gpu_count=1&gpu_kind=24GB", json!("24GB")),
            ("gpu_count=2&gpu_kind=24GB&gpu_kind=a100&gpu_not=L4", json!(["2x24GB", "2xa100", "-L4"])),
            ("gpu_count=1&gpu_kind=&gpu_not=-L4,+T4", json!(["any", "-L4", "-T4"])),
        ] {
            assert_eq!(wish(&Form::parse(form.as_bytes())), Some(Ok(expected)), "{form}");
        }
        assert_eq!(wish(&Form::parse(b"gpus=2")), None);
        assert!(wish(&Form::parse(b"gpu_count=many")).is_some_and(|wish| wish.is_err()));
        assert!(wish(&Form::parse(b"gpu_count=1&gpu_kind=%2F%2F")).is_some_and(|wish| wish.is_err()));
    }
}
