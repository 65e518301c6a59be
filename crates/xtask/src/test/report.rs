//! What a part of the tests came to.

/// Counts of one part, and what did not pass by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Which part.
    pub name: &'static str,
    /// Tests that passed.
    pub passed: usize,
    /// Names of those that failed.
    pub failed: Vec<String>,
    /// Names of those that could not run, and why.
    pub skipped: Vec<(String, String)>,
    /// Why the part did not come to its end, where it did not.
    pub broken: Option<String>,
}

impl Report {
    /// `N passed, N failed, N skipped`.
    pub fn counts(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }

    /// A runner that failed without a failed test did not run to its end.
    pub fn ended(mut self, success: bool) -> Self {
        if !success && self.failed.is_empty() && self.broken.is_none() {
            self.broken = Some(format!("the tests of the {} did not run to their end: see above", self.name));
        }
        self
    }

    /// All parts together.
    pub fn sum(parts: &[Self]) -> Self {
        let mut whole = Self { name: "all", ..Self::default() };
        for part in parts {
            whole.passed += part.passed;
            whole.failed.extend(part.failed.iter().cloned());
            whole.skipped.extend(part.skipped.iter().cloned());
        }
        whole
    }
}

/// The reason that a test printed, where it skipped itself: the rest of a line that begins with `SKIPPED:`.
pub fn skip_reason(output: &str) -> Option<String> {
    output.lines().find_map(|line| Some(line.trim().strip_prefix("SKIPPED:")?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line_of_its_own() {
        assert_eq!(skip_reason("a\n  SKIPPED: no strace\n").as_deref(), Some("no strace"));
        assert_eq!(skip_reason("it says SKIPPED: somewhere"), None);
    }

    #[test]
    fn a_runner_that_failed_without_a_failed_test_is_broken() {
        let report = Report { name: "crates", passed: 3, ..Report::default() };
        assert!(report.clone().ended(true).broken.is_none());
        assert!(report.clone().ended(false).broken.is_some());
        let failed = Report { failed: vec!["x".to_owned()], ..report };
        assert!(failed.ended(false).broken.is_none());
    }
}
