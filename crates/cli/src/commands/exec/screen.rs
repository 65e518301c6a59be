//! What a command prints, on its way to the user: as it is into files and pipes, and without control characters onto a
//! terminal that is not the command's own.

use std::borrow::Cow;

/// Both outputs.
pub struct Screen {
    cleans: bool,
    /// Whether the last byte began a character that may be a control character.
    begun: [bool; 2],
}

impl Screen {
    /// `cleans` for a terminal.
    pub fn new(cleans: bool) -> Self {
        Self { cleans, begun: [false; 2] }
    }

    /// Standard output.
    pub fn out<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.pass(0, bytes)
    }

    /// Standard error.
    pub fn err<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.pass(1, bytes)
    }

    fn pass<'a>(&mut self, which: usize, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.cleans {
            return Cow::Borrowed(bytes);
        }
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            // In UTF-8 the control characters beyond ASCII are C2 80 to C2 9F.
            let control = match byte {
                b'\n' | b'\t' | b'\r' => false,
                0..0x20 | 0x7f => true,
                0x80..0xa0 => self.begun[which],
                _ => false,
            };
            self.begun[which] = byte == 0xc2;
            shown.push(if control { b'?' } else { byte });
        }
        Cow::Owned(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_ours_sees_no_control_characters() {
        let mut screen = Screen::new(true);
        assert_eq!(&*screen.out("a\u{1b}[2Jb\tä\n".as_bytes()), "a?[2Jb\tä\n".as_bytes());
        // Cut in the middle of a character.
        assert_eq!(&*screen.out(b"\xc2"), b"\xc2");
        assert_eq!(&*screen.err(b"\x9b"), b"\x9b");
        assert_eq!(&*screen.out(b"\x9b1m"), b"?1m");
    }

    #[test]
    fn files_get_what_was_printed() {
        assert_eq!(&*Screen::new(false).out(b"\x1b\x00"), b"\x1b\x00");
    }
}
