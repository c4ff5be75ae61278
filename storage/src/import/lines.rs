//! Lines of a text table and their fields.

use std::io::{BufRead, Read};

/// The longest line. Tables of prices have lines of some hundred bytes; what is longer is no such table.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A line with its number, from 1; or the number of a line that can't be read, and why.
pub(super) type Line<'a> = Result<Option<(u64, &'a [u8])>, (u64, String)>;

/// Reads a text table line by line, without its line ends; blank lines are passed over.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::with_capacity(256), number: 0 }
    }

    /// The next line that is not blank, with its number from 1; `None` at the end.
    ///
    /// # Errors
    /// The number of the line, and in words why it can't be part of a text table or be read.
    pub(super) fn next(&mut self) -> Line<'_> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let number = self.number;
            let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|error| (number, describe(&error)))?;
            if read == 0 {
                return Ok(None);
            }
            let mut end = self.buffer.len();
            if self.buffer.last() == Some(&b'\n') {
                end -= 1;
            } else if read as u64 == LINE_BYTES_MAX {
                let what =
                    format!("the line is longer than {LINE_BYTES_MAX} bytes: this is not a table of prices");
                return Err((number, what));
            }
            while end > 0 && matches!(self.buffer[end - 1], b'\r' | b' ') {
                end -= 1;
            }
            if end == 0 {
                continue;
            }
            check_text(&self.buffer[..end]).map_err(|what| (number, what))?;
            return Ok(Some((number, &self.buffer[..end])));
        }
    }
}

/// What an I/O error means to someone who imports a file.
pub(super) fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the compressed file ends too early: it is truncated".into(),
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
            format!("the file is damaged ({error})")
        }
        _ => format!("can't be read: {error}"),
    }
}

fn check_text(line: &[u8]) -> Result<(), String> {
    if line.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t') {
        return Ok(());
    }
    if line.contains(&0) {
        return Err(
            "holds a NUL byte: the file is not text, or UTF-16 without a byte order mark; save it as UTF-8"
                .into(),
        );
    }
    match std::str::from_utf8(line) {
        Err(error) => {
            let byte = line[error.valid_up_to()];
            Err(format!(
                "byte 0x{byte:02X} is not UTF-8; save the file as UTF-8 (it may be Latin-1 or Windows-1252)"
            ))
        }
        Ok(text) if text.chars().any(|c| c.is_control() && c != '\t') => {
            Err("holds control characters: the file is not text, or damaged".into())
        }
        Ok(_) => Ok(()),
    }
}

/// Where the fields of a line lie.
#[derive(Debug, Default)]
pub(super) struct Fields {
    spans: Vec<(u32, u32)>,
}

impl Fields {
    /// Finds the fields of `line`. A field may stand in double quotes, within which the delimiter is plain text.
    pub(super) fn split(&mut self, line: &[u8], delimiter: u8) {
        self.spans.clear();
        let (mut start, mut quoted) = (0, false);
        for (at, &byte) in line.iter().enumerate() {
            if byte == b'"' {
                quoted = !quoted;
            } else if byte == delimiter && !quoted {
                self.spans.push((start, at as u32));
                start = at as u32 + 1;
            }
        }
        self.spans.push((start, line.len() as u32));
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The field at `index` without blanks and quotes around it; `None` when the line has not so many.
    pub(super) fn get<'a>(&self, line: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.spans.get(index)?;
        let field = line[start as usize..end as usize].trim_ascii();
        match field {
            [b'"', inner @ .., b'"'] => Some(inner.trim_ascii()),
            _ => Some(field),
        }
    }
}

/// The delimiter of a line: the one of `, ; tab |` that it holds most of, a comma where it holds none.
pub(super) fn sniff_delimiter(line: &[u8]) -> u8 {
    let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    // The first of equals wins, hence the reverse: `max_by_key` takes the last.
    [b'|', b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        let mut fields = Fields::default();
        let line = b"\"a,b\", 1.5 ,,\"\"";
        fields.split(line, b',');
        let all: Vec<_> = (0..fields.len()).map(|i| fields.get(line, i).unwrap()).collect();
        assert_eq!(all, [&b"a,b"[..], b"1.5", b"", b""]);
        assert_eq!(fields.get(line, 4), None);
        assert_eq!(sniff_delimiter(b"20170102 020000;1,0;2"), b';');
        assert_eq!(sniff_delimiter(b"abc"), b',');
    }

    #[test]
    fn what_is_not_text_is_named() {
        let read = |bytes: &[u8]| match Lines::new(bytes).next() {
            Ok(line) => Ok(line.map(|(number, line)| (number, line.to_vec()))),
            Err((_, what)) => Err(what),
        };
        assert_eq!(read(b"\r\n\n a,b \r\nc"), Ok(Some((3, b" a,b".to_vec()))));
        assert!(read(b"a\0b").unwrap_err().contains("NUL"));
        assert!(read(b"Zeit,Er\xf6ffnung").unwrap_err().contains("0xF6"));
        assert!(read(b"a\x01b").unwrap_err().contains("control"));
        assert!(read(&vec![b'1'; 70_000]).unwrap_err().contains("longer"));
        assert_eq!(read(b""), Ok(None));
    }
}
