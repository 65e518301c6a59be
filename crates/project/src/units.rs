//! Values as people write them: lengths of time, sizes, GPUs.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

const DURATION: &str = "write 500ms, 30s, 10m, 2h or 7d";
const BYTES: &str = "write 64KB, 10MB or 1GB";
const SIZE: &str = "write 512MB, 20GB or 1TB";

/// A length of time in milliseconds: `500ms`, `30s`, `10m`, `2h`, `7d`; a plain number counts seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) i64);

impl Span {
    /// In whole seconds, rounded down.
    pub(crate) fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000).unwrap_or(u32::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let unit_ms = match unit {
            "ms" => 1.0,
            "" | "s" => 1_000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        let ms = number * unit_ms;
        (ms <= 1e15).then_some(Self(ms.round() as i64))
    }

    /// As one would type it, nothing rounded.
    pub(crate) fn typed(ms: i64) -> String {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match units.iter().find(|(size, _)| ms != 0 && ms % size == 0) {
            Some((size, unit)) => format!("{}{unit}", ms / size),
            None => format!("{ms}ms"),
        }
    }
}

/// A size in MiB: `512MB`, `20GB`, `1TB`, where MB means MiB as in RunPod's forms; a plain number counts MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u32);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let unit_mib = match unit.to_ascii_lowercase().as_str() {
            "" | "m" | "mb" | "mib" => 1.0,
            "g" | "gb" | "gib" => 1024.0,
            "t" | "tb" | "tib" => 1024.0 * 1024.0,
            _ => return None,
        };
        let mib = number * unit_mib;
        (mib <= f64::from(u32::MAX)).then_some(Self(mib.round() as u32))
    }

    /// As one would type it.
    pub(crate) fn typed(mib: u32) -> String {
        if mib != 0 && mib.is_multiple_of(1024) { format!("{}GB", mib / 1024) } else { format!("{mib}MB") }
    }
}

/// A size in bytes: `64KB`, `10MB`, where KB means KiB; a plain number counts bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Reads it as people write it.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let bytes = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" | "kib" => 1024.0,
            "m" | "mb" | "mib" => 1024.0 * 1024.0,
            "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        let bytes = number * bytes;
        (bytes <= 1e15).then_some(Self(bytes.round() as u64))
    }

    /// As one would type it, nothing rounded.
    pub fn typed(bytes: u64) -> String {
        let units = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
        match units.iter().find(|(size, _)| bytes != 0 && bytes.is_multiple_of(*size)) {
            Some((size, unit)) => format!("{}{unit}", bytes / size),
            None => bytes.to_string(),
        }
    }
}

/// GPUs of each worker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct GpuWish(pub(crate) runyard_domain::Gpus);

impl JsonSchema for GpuWish {
    fn schema_name() -> Cow<'static, str> {
        "gpus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 64},
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 16},
        ]})
    }
}

/// `1.5h` as its number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

/// A number or a text, as TOML has them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Whole(i64),
    Real(f64),
    Text(String),
}

/// The value as text; numbers are read as those without a unit.
fn said<'de, D: Deserializer<'de>>(deserializer: D, allowed: &str) -> Result<String, D::Error> {
    match Said::deserialize(deserializer) {
        Ok(Said::Whole(n)) => Ok(n.to_string()),
        Ok(Said::Real(n)) => Ok(n.to_string()),
        Ok(Said::Text(text)) => Ok(text),
        Err(_) => Err(D::Error::custom(allowed)),
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = said(deserializer, DURATION)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("'{text}' is no duration: {DURATION}")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = said(deserializer, SIZE)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("'{text}' is no size: {SIZE}")))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = said(deserializer, BYTES)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("'{text}' is no size: {BYTES}")))
    }
}

macro_rules! written_as {
    ($kind:ty, $name:literal, $pattern:literal) => {
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"anyOf": [
                    {"type": "number", "minimum": 0},
                    {"type": "string", "pattern": $pattern},
                ]})
            }
        }
    };
}

written_as!(Span, "duration", r"^[0-9.]+ ?(ms|s|m|min|h|d)?$");
written_as!(Size, "size", r"^[0-9.]+ ?([mMgGtT]([iI]?[bB])?)?$");
written_as!(Bytes, "bytes", r"^[0-9.]+ ?([kKmMgG]([iI]?[bB])?|[bB])?$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for (text, ms) in [("500ms", 500), ("30", 30_000), ("1.5h", 5_400_000), ("7d", 604_800_000), ("0", 0)]
        {
            assert_eq!(Span::parse(text), Some(Span(ms)), "{text}");
            assert_eq!(Span::parse(&Span::typed(ms)), Some(Span(ms)), "{text}");
        }
        for wrong in ["", "x", "1w", "-1s", "1e9d", "99999999999999999d"] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_count_mebibytes() {
        for (text, mib) in [("512MB", 512), ("20GB", 20_480), ("1 TiB", 1_048_576), ("64", 64)] {
            assert_eq!(Size::parse(text), Some(Size(mib)), "{text}");
            assert_eq!(Size::parse(&Size::typed(mib)), Some(Size(mib)), "{text}");
        }
        assert_eq!(Size::parse("1PB"), None);
    }

    #[test]
    fn small_sizes_count_bytes() {
        for (text, bytes) in
            [("64KB", 65_536), ("1.5 MiB", 1_572_864), ("1GB", 1 << 30), ("100", 100), ("0", 0)]
        {
            assert_eq!(Bytes::parse(text), Some(Bytes(bytes)), "{text}");
            assert_eq!(Bytes::parse(&Bytes::typed(bytes)), Some(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "x", "1TB", "-1", "9e30GB", "99999999999GB"] {
            assert_eq!(Bytes::parse(wrong), None, "{wrong}");
        }
    }
}
