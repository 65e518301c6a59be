//! The GPUs of this machine and their driver, from what the kernel shows: no library of the driver is needed.

use std::path::Path;

use runyard_domain::Gpu;
use runyard_domain::gpu::Inventory;
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

/// The types of the GPUs that have a device file here, in the order of their addresses on the bus, which is the order
/// in which drivers and container engines count them.
fn types(kernel: &Path, devices: &Path) -> Vec<Gpu> {
    let Ok(entries) = std::fs::read_dir(kernel) else { return Vec::new() };
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let read = |folder: &std::path::PathBuf| {
        let text = std::fs::read_to_string(folder.join("information")).ok()?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let minor = value("Device Minor")?.trim();
        devices.join(format!("nvidia{minor}")).exists().then(|| Gpu::named(value("Model").unwrap_or("GPU")))
    };
    folders.iter().filter_map(read).collect()
}

impl Config {
    /// The GPUs of this machine, real or made up. Where the kernel does not tell their types, they have the configured
    /// one.
    pub fn machine(&self) -> Vec<Gpu> {
        let count = match &self.gpus {
            Some(Inventory::These(gpus)) => return gpus.clone(),
            Some(Inventory::Count(count)) => *count,
            None => count_gpus(),
        };
        if self.gpu_name.is_none() {
            let known = types(Path::new("/proc/driver/nvidia/gpus"), Path::new("/dev"));
            if count > 0 && known.len() == count as usize {
                return known;
            }
        }
        vec![Gpu::named(self.gpu_name.as_deref().unwrap_or("GPU")); count as usize]
    }

    /// How many GPUs are configured, where any are.
    pub fn said_gpus(&self) -> Option<u32> {
        self.gpus.as_ref().map(|gpus| match gpus {
            Inventory::Count(count) => *count,
            Inventory::These(gpus) => gpus.len() as u32,
        })
    }

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
    fn types_are_read_in_the_order_of_the_bus() {
        let dir = tempfile::tempdir().expect("a folder");
        let (kernel, devices) = (dir.path().join("gpus"), dir.path().join("dev"));
        for (bus, minor, model) in [
            ("0000:41:00.0", 0, "NVIDIA L4"),
            ("0000:01:00.0", 1, "NVIDIA A40"),
            ("0000:81:00.0", 2, "NVIDIA T4"),
        ] {
            std::fs::create_dir_all(kernel.join(bus)).expect("made");
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 20\nDevice Minor: \t {minor}\n");
            std::fs::write(kernel.join(bus).join("information"), text).expect("written");
        }
        std::fs::create_dir(&devices).expect("made");
        for minor in [0, 1] {
            std::fs::write(devices.join(format!("nvidia{minor}")), "").expect("written");
        }
        let named = ["NVIDIA A40", "NVIDIA L4"].map(Gpu::named);
        assert_eq!(types(&kernel, &devices), named, "the third is not ours");
        assert_eq!(types(&dir.path().join("none"), &devices), []);
    }

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
