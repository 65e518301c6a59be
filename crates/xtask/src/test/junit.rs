//! Reads JUnit reports as nextest and pytest write them: which tests there were and how each ended. Only what
//! these two write is understood.

use super::report::{Report, skip_reason};

/// The report of one file's text.
pub fn read(name: &'static str, text: &str) -> Report {
    let mut report = Report { name, ..Report::default() };
    for part in text.split("<testcase ").skip(1) {
        let Some((attributes, rest)) = part.split_once('>') else { continue };
        let body =
            if attributes.ends_with('/') { "" } else { rest.split("</testcase>").next().unwrap_or("") };
        let case = case_name(attributes);
        let skip = body.split_once("<skipped").and_then(|(_, rest)| rest.split_once('>')).map(|(tag, _)| tag);
        if body.contains("<failure") || body.contains("<error") {
            report.failed.push(case);
        } else if let Some(tag) = skip.filter(|tag| attribute(tag, "type").as_deref() != Some("pytest.xfail"))
        {
            report.skipped.push((case, attribute(tag, "message").unwrap_or_default()));
        } else if let Some(why) = skip_reason(&unescape(body).replace('>', ">\n")) {
            report.skipped.push((case, why));
        } else {
            report.passed += 1;
        }
    }
    report
}

fn case_name(attributes: &str) -> String {
    let name = attribute(attributes, "name").unwrap_or_default();
    match attribute(attributes, "classname") {
        Some(class) if !class.is_empty() => format!("{class} {name}"),
        _ => name,
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    // With the space before it, so that `name` is not found in `classname`.
    let tag = format!(" {tag}");
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(rest.split('"').next()?))
}

fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    plain.replace("&#10;", "\n").replace("&#x0A;", "\n").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_reports_are_read() {
        let text = r#"<testsuites name="nextest-run" tests="3">
            <testsuite name="runyard-store::crash" tests="3">
              <testcase name="sync::order" classname="runyard-store::crash" time="0.1">
                <system-out>
running 1 test
SKIPPED: strace is not installed (Debian: apt-get install strace)
</system-out>
              </testcase>
              <testcase name="points::all" classname="runyard-store::crash" time="0.1"/>
              <testcase name="kill::once" classname="runyard-store::crash" time="0.1">
                <failure type="test failure">thread &apos;x&apos; panicked</failure>
              </testcase>
            </testsuite></testsuites>"#;
        let report = read("crates", text);
        assert_eq!(report.counts(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(report.failed, ["runyard-store::crash kill::once"]);
        assert!(report.skipped[0].1.starts_with("strace is not installed"), "{:?}", report.skipped);
    }

    #[test]
    fn pytest_reports_are_read() {
        let text = r#"<?xml version="1.0"?><testsuites><testsuite tests="3"><testcase classname="test_a" name="test_x"
            time="0.1" /><testcase classname="test_a" name="test_y" time="0.1"><skipped type="pytest.skip"
            message="no &quot;GPU&quot;">x.py:1</skipped></testcase><testcase classname="test_a" name="test_z"
            time="0.1"><error message="x">no</error></testcase></testsuite></testsuites>"#;
        let report = read("end to end", text);
        assert_eq!(report.counts(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(report.skipped, [("test_a test_y".to_owned(), "no \"GPU\"".to_owned())]);
    }
}
