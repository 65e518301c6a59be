//! Doors to parsers that are private, for the fuzz targets.

/// When a certificate in DER ends, in seconds since the Unix epoch.
pub fn not_after(der: &[u8]) -> Option<i64> {
    crate::expiry::not_after(der)
}
