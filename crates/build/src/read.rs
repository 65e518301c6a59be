//! Reads files that came in a user's folder: never more of one than it may have, because a small archive can hold
//! files of gigabytes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The most bytes of a file that is read as a whole: requirements, locks, test requests.
pub const MOST_BYTES: u64 = 32 << 20;

/// The whole file; one that is larger than [`MOST_BYTES`] is an error.
pub fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

/// The same as text; what is not UTF-8 is an error.
pub fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(whole(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// SHA-256 of a file of any size.
pub fn digest(path: &Path) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.finalize().to_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_gigabytes_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requirements.txt");
        File::create(&path).unwrap().set_len(8 << 30).unwrap();
        assert_eq!(whole(&path).unwrap_err().to_string(), "it has more than 32 MiB");
        std::fs::write(&path, "é").unwrap();
        assert_eq!(text(&path).unwrap(), "é");
        assert_eq!(digest(&path).unwrap().len(), 32);
    }
}
