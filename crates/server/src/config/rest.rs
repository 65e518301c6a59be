//! The part of the configuration that REST v2 shows or asks for: local commands that stand for images, this machine as
//! a data centre, prices, and how often a key may call.

use std::path::PathBuf;

use runyard_manage::{ConfigValue, LocalImage, RestOptions};
use serde::Deserialize;

use super::{File, Layers, between, wrong};
use crate::ServerError;

/// An entry of `[images]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Image {
    command: Option<String>,
    path: PathBuf,
}

pub(super) fn pick(layers: &mut Layers, file: &File) -> Result<RestOptions, ServerError> {
    let usual = RestOptions::default();
    let center =
        layers.pick("data_center", None, file.data_center.clone(), Some(usual.data_center.clone()))?;
    let center = center.unwrap_or(usual.data_center);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if center.is_empty() || center.len() > 60 || !center.bytes().all(plain) {
        return Err(wrong(format!(
            "data_center is '{center}'; it must be 1 to 60 letters, digits, '-' and '_'"
        )));
    }
    let mut price = |key: &str, value: Option<f64>| {
        let price = layers.pick(key, None, value, None)?;
        if let Some(shown) = layers.values.last_mut().filter(|_| price.is_none()) {
            "none".clone_into(&mut shown.value);
        }
        price.map(|price| sum(key, price)).transpose()
    };
    let gpu_hour = price("price_gpu_hour", file.price_gpu_hour)?;
    let vcpu_hour = price("price_vcpu_hour", file.price_vcpu_hour)?;
    let (minute, hour) = usual.rate;
    let minute = layers.pick("rest_per_minute", None, file.rest_per_minute, Some(minute))?.unwrap_or(minute);
    let hour = layers.pick("rest_per_hour", None, file.rest_per_hour, Some(hour))?.unwrap_or(hour);
    between("rest_per_minute", u64::from(minute), 1, 1_000_000_000)?;
    between("rest_per_hour", u64::from(hour), 1, 1_000_000_000)?;
    let prices = file.gpu_prices.iter();
    let prices =
        prices.map(|(name, price)| Ok((name.clone(), sum(&format!("gpu_prices.\"{name}\""), *price)?)));
    let gpu_prices = prices.collect::<Result<_, ServerError>>()?;
    layers.note_table("gpu_prices", file.gpu_prices.keys());
    let images = file.images.iter().map(|(name, image)| Ok((name.clone(), read(name, image)?)));
    let images = images.collect::<Result<_, ServerError>>()?;
    layers.note_table("images", file.images.keys());
    Ok(RestOptions {
        images,
        data_center: center,
        gpu_hour,
        gpu_prices,
        vcpu_hour,
        rate: (minute, hour),
        ..usual
    })
}

/// A price for an hour.
fn sum(key: &str, price: f64) -> Result<f64, ServerError> {
    if (0.0..=1e6).contains(&price) {
        return Ok(price);
    }
    Err(wrong(format!("{key} is {price}; it must be 0 to 1000000")))
}

impl Layers {
    /// Shows a table by the names of its entries.
    fn note_table<'a>(&mut self, key: &str, names: impl Iterator<Item = &'a String>) {
        let names: Vec<&str> = names.map(String::as_str).collect();
        let source = if names.is_empty() { "default" } else { "file" };
        self.values.push(ConfigValue { key: key.to_owned(), value: names.join(", "), source });
    }
}

fn read(name: &str, image: &Image) -> Result<LocalImage, ServerError> {
    let of = |what: String| wrong(format!("images.\"{name}\": {what}"));
    if !image.path.is_absolute() {
        return Err(of(format!("path is '{}'; it must be absolute", image.path.display())));
    }
    let command = match image.command.as_deref() {
        None => Vec::new(),
        Some(text) => shlex::split(text)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| of(format!("command is '{text}'; it must be a program and its arguments")))?,
    };
    Ok(LocalImage { command, path: image.path.clone() })
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        std::fs::write(&file, text).expect("written");
        Config::load(&file, &Flags::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn images_are_mapped_to_commands() {
        let text = "data_center = \"EU-RO-1\"\nprice_gpu_hour = 0.5\ngpu_prices = { \"NVIDIA L4\" = 0.3 }\n\
                    [images.\"me/w:1\"]\ncommand = \"python3 -u 'my handler.py'\"\npath = \"/srv/w\"\n\
                    [images.\"me/x:1\"]\npath = \"/srv/x\"\n";
        let rest = load(text).expect("valid").rest;
        assert_eq!((rest.data_center.as_str(), rest.gpu_hour), ("EU-RO-1", Some(0.5)));
        assert_eq!((rest.gpu_prices["NVIDIA L4"], rest.vcpu_hour), (0.3, None));
        assert_eq!(rest.images["me/w:1"].command, ["python3", "-u", "my handler.py"]);
        assert!(rest.images["me/x:1"].command.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("[images.x]\npath = \"srv\"", "path is 'srv'; it must be absolute"),
            ("[images.x]\npath = \"/srv\"\ncommand = \"'open\"", "it must be a program"),
            ("[images.x]\npath = \"/srv\"\ncomand = \"x\"", "comand"),
            ("data_center = \"a b\"", "data_center is 'a b'"),
            ("price_gpu_hour = -1.0", "price_gpu_hour is -1"),
            ("gpu_prices = { x = -1.0 }", "gpu_prices.\"x\" is -1"),
            ("rest_per_minute = 0", "rest_per_minute is 0"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.contains(wrong), "{error}");
        }
    }
}
