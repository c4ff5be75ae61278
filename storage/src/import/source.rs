//! Opens foreign files: what they are is told by their first bytes, never by their names.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use super::Progress;
use super::error::{ImportError, Place};
use super::lines::describe;

/// What a file, or the member of an archive, holds.
pub(super) enum Content<'a> {
    /// Lines of UTF-8 (what was UTF-16 has been decoded).
    Text(&'a mut dyn BufRead),
    /// A Parquet file.
    Parquet(File),
}

/// Called with every table of a file.
pub(super) type Visitor<'a> = dyn FnMut(&Place, Content<'_>) -> Result<(), ImportError> + 'a;

/// Opens the file and calls `visit` with its table, or with each table of a zip archive whose name contains
/// `member_filter`.
pub(super) fn visit(
    path: &Path,
    member_filter: Option<&str>,
    progress: &dyn Progress,
    visit: &mut Visitor<'_>,
) -> Result<(), ImportError> {
    let place = Place::file(path.display().to_string());
    let failed = |error: std::io::Error| ImportError::input(&place, describe(&error));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(ImportError::input(&place, "is a folder; name the files in it"));
    }
    let mut file = file;
    let magic = peek(&mut file).map_err(failed)?;
    match magic {
        Magic::Empty => Err(ImportError::input(&place, "is empty")),
        Magic::Parquet => {
            progress.read(file.metadata().map_err(failed)?.len());
            visit(&place, Content::Parquet(file))
        }
        Magic::Zip => visit_zip(file, &place, member_filter, progress, visit),
        Magic::Gzip => {
            let reader = flate2::read::MultiGzDecoder::new(BufReader::new(Counted { file, progress }));
            visit_text(reader, &place, visit)
        }
        Magic::Zstd => {
            let decoder = zstd::Decoder::new(Counted { file, progress }).map_err(failed)?;
            visit_text(decoder, &place, visit)
        }
        Magic::Known(what) => Err(ImportError::input(&place, what)),
        Magic::Other => visit_text(Counted { file, progress }, &place, visit),
    }
}

enum Magic {
    Empty,
    Gzip,
    Zstd,
    Zip,
    Parquet,
    /// Something that can't be read here; what to do about it.
    Known(&'static str),
    Other,
}

fn peek(file: &mut File) -> std::io::Result<Magic> {
    let mut head = Vec::with_capacity(16);
    file.by_ref().take(16).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(match head.as_slice() {
        [] => Magic::Empty,
        [0x1f, 0x8b, ..] => Magic::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Magic::Zstd,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Magic::Zip,
        [b'P', b'A', b'R', b'1', ..] => Magic::Parquet,
        [b'B', b'Z', b'h', ..] => Magic::Known("is compressed with bzip2; unpack it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Magic::Known("is compressed with xz; unpack it first"),
        [b'7', b'z', 0xbc, 0xaf, ..] => Magic::Known("is a 7-Zip archive; unpack it first"),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Magic::Known("is an old Excel workbook; save the sheet as CSV"),
        _ => Magic::Other,
    })
}

/// Members of one archive; more than any vendor packs into one file.
const MEMBERS_MAX: usize = 100_000;

fn visit_zip(
    file: File,
    place: &Place,
    member_filter: Option<&str>,
    progress: &dyn Progress,
    visit: &mut Visitor<'_>,
) -> Result<(), ImportError> {
    let damaged = |error: zip::result::ZipError| {
        ImportError::input(place, format!("is not a whole zip archive ({error}): it is damaged or truncated"))
    };
    let bytes = file.metadata().map(|meta| meta.len()).unwrap_or_default();
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.len() > MEMBERS_MAX {
        return Err(ImportError::input(place, format!("holds more than {MEMBERS_MAX} members")));
    }
    let mut names: Vec<(String, usize)> = Vec::new();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(damaged)?;
        let name = member.name().map_err(damaged)?.into_owned();
        let wanted = member_filter.is_none_or(|filter| name.contains(filter));
        if wanted && !member.is_dir() && !name.starts_with("__MACOSX/") {
            names.push((name, index));
        }
    }
    // By name, not by place in the archive, so that the same members always come in the same order.
    names.sort();
    if names.is_empty() {
        let what = match member_filter {
            Some(filter) => format!("holds no member whose name contains {filter:?}"),
            None => "holds no file".to_owned(),
        };
        return Err(ImportError::input(place, what));
    }
    let count = names.len() as u64;
    for (name, index) in names {
        let place = Place { member: Some(name), ..place.clone() };
        let member = archive
            .by_index(index)
            .map_err(|error| ImportError::input(&place, format!("can't be unpacked ({error})")))?;
        visit_text(member, &place, visit)?;
        progress.read(bytes / count);
    }
    progress.read(bytes % count);
    Ok(())
}

/// Enough to see a byte order mark, or the signature of a tar archive at byte 257.
const HEAD_BYTES: u64 = 512;

fn visit_text(mut reader: impl Read, place: &Place, visit: &mut Visitor<'_>) -> Result<(), ImportError> {
    let mut head = Vec::with_capacity(HEAD_BYTES as usize);
    // A damaged file that gives some bytes before the damage is read up to there, so that the error has its line.
    if let Err(error) = reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head)
        && head.is_empty()
    {
        return Err(ImportError::input(place, describe(&error)));
    }
    if head.is_empty() {
        return Err(ImportError::input(place, "is empty"));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Err(ImportError::input(place, "is a tar archive; unpack it first"));
    }
    if head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || head.starts_with(b"PAR1")
    {
        return Err(ImportError::input(place, "holds another compressed file; unpack it first"));
    }
    let utf16 = match head.as_slice() {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes as fn([u8; 2]) -> u16),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes as fn([u8; 2]) -> u16),
        _ => None,
    };
    let skip = if head.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
    let mut cursor = Cursor::new(head);
    cursor.set_position(skip);
    let whole = cursor.chain(reader);
    if let Some(unit) = utf16 {
        let mut text = BufReader::with_capacity(
            1 << 16,
            Utf16 { inner: BufReader::new(whole), unit, high: None, out: Vec::new(), at: 0, begun: false },
        );
        return visit(place, Content::Text(&mut text));
    }
    visit(place, Content::Text(&mut BufReader::with_capacity(1 << 16, whole)))
}

/// Counts the bytes read, for the progress bar.
struct Counted<'a> {
    file: File,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.progress.read(read as u64);
        Ok(read)
    }
}

/// UTF-16 as UTF-8.
struct Utf16<R> {
    inner: R,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    out: Vec<u8>,
    at: usize,
    begun: bool,
}

impl<R: BufRead> Utf16<R> {
    fn fill(&mut self) -> std::io::Result<()> {
        let damaged = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
        self.out.clear();
        self.at = 0;
        while self.out.len() < 4096 {
            let mut bytes = [0; 2];
            match self.inner.read(&mut bytes[..1])? {
                0 if self.high.is_some() => return Err(damaged("half a UTF-16 character at the end")),
                0 => return Ok(()),
                _ => {}
            }
            self.inner
                .read_exact(&mut bytes[1..])
                .map_err(|_| damaged("an odd number of bytes in UTF-16"))?;
            let unit = (self.unit)(bytes);
            if !self.begun {
                self.begun = true;
                continue; // the byte order mark
            }
            let pair: Vec<u16> = self.high.take().into_iter().chain([unit]).collect();
            match char::decode_utf16(pair.iter().copied()).next() {
                Some(Ok(character)) if pair.len() == 2 || character.len_utf16() == 1 => {
                    self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ if pair.len() == 1 && (0xd800..0xdc00).contains(&unit) => self.high = Some(unit),
                _ => return Err(damaged("not UTF-16, although it begins with its byte order mark")),
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.out.len() {
            self.fill()?;
        }
        let count = buffer.len().min(self.out.len() - self.at);
        buffer[..count].copy_from_slice(&self.out[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
