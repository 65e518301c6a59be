//! The GPUs of this machine and their driver, from what the kernel shows: no library of the driver is needed.

use runyard_domain::image::Driver;

use super::Config;

/// The newest CUDA of each generation of drivers, newest first. Source: NVIDIA's CUDA release notes, table of toolkit
/// driver versions.
const CUDA: [(u32, (u32, u32)); 14] = [
    (580, (13, 0)),
    (575, (12, 9)),
    (570, (12, 8)),
    (565, (12, 7)),
    (560, (12, 6)),
    (555, (12, 5)),
    (550, (12, 4)),
    (545, (12, 3)),
    (535, (12, 2)),
    (530, (12, 1)),
    (525, (12, 0)),
    (520, (11, 8)),
    (510, (11, 6)),
    (470, (11, 4)),
];

/// GPUs by their device files.
pub fn count_gpus() -> u32 {
    let Ok(entries) = std::fs::read_dir("/dev") else { return 0 };
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count() as u32
}

impl Config {
    /// The GPU driver: what was configured, else what the kernel's module says.
    pub fn driver(&self) -> Option<Driver> {
        if let Some(text) = &self.cuda_version {
            let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
            return Some(Driver { cuda: (major.parse().ok()?, minor.parse().ok()?), major: None });
        }
        driver(&std::fs::read_to_string("/proc/driver/nvidia/version").ok()?)
    }
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar …`. A driver newer than the table is taken for
/// the newest in it; nothing is known of one that is older.
fn driver(text: &str) -> Option<Driver> {
    let words = text.lines().next()?.split_whitespace();
    let is_version =
        |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let major: u32 = words.into_iter().find(is_version)?.split('.').next()?.parse().ok()?;
    let (_, cuda) = CUDA.iter().find(|(driver, _)| major >= *driver)?;
    Some(Driver { cuda: *cuda, major: Some(major) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_read_from_the_kernels_words() {
        let says = |version: &str| {
            let line = format!(
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Mar 5 22:23:56 UTC\nGCC"
            );
            driver(&line).map(|driver| (driver.cuda, driver.major))
        };
        assert_eq!(says("550.54.15"), Some(((12, 4), Some(550))));
        assert_eq!(says("590.1"), Some(((13, 0), Some(590))));
        assert_eq!(says("390.1"), None);
        assert_eq!(driver("nothing"), None);
    }
}
