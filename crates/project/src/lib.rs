//! `runyard.toml`: what a project wants its endpoint to be, next to its code. [`read`] makes [`Wanted`] of the file,
//! [`write`] makes the file of an endpoint that is there, [`schema`] tells editors what may stand in it, and [`places`]
//! which key of the file stands for which setting.
//!
//! Nothing here touches a folder or a server: text comes in, values go out.

mod asked;
mod file;
pub mod place;
pub mod places;
mod read;
mod units;
mod wanted;
mod write;

pub use read::{FileError, read};
pub use units::Bytes;
pub use wanted::{Expected, Source, Test, Wanted};
pub use write::{Built, Live, typed, write};

/// The file's name.
pub const FILE: &str = "runyard.toml";

/// The largest file that is read, in bytes.
pub const LARGEST: usize = 256 * 1024;

/// The file's JSON Schema.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(file::File).to_value();
    schema["title"] = FILE.into();
    schema
}
