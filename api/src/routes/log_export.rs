//! Logs as files: read page by page while they are sent, so that a long one takes no more memory than a short one.

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::trades::export::plain;
use crate::problem::Problem;

/// Lines that are read at once.
const PAGE: u32 = 500;

/// The kind of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExportFormat {
    #[default]
    Csv,
    Json,
}

/// A line of a log.
pub(crate) trait Line: Serialize + 'static {
    /// Their names in CSV.
    const COLUMNS: &'static [&'static str];

    /// By which the next page is found.
    fn id(&self) -> &str;

    /// As many as there are columns.
    fn cells(&self) -> Vec<String>;
}

/// How far a file is sent.
enum At {
    /// This page comes next, behind so many lines.
    Page(Vec<u8>, Option<String>),
    End,
}

/// Sends all lines, which `read` gives page by page: those behind a line, so many at most. When a later page can't be read,
/// the answer breaks off, so that no one takes a part for the whole.
pub(crate) async fn stream<L, F>(
    name: &str,
    format: ExportFormat,
    read: impl Fn(Option<String>, u32) -> F + 'static,
) -> Result<HttpResponse, Problem>
where
    L: Line,
    F: Future<Output = Result<Vec<L>, Problem>> + 'static,
{
    // An error of the first page is still told as such.
    let first = At::of(&read(None, PAGE).await?, format, true)?;
    let chunks = stream::try_unfold((first, read), move |(at, read)| async move {
        let At::Page(bytes, last) = at else { return Ok::<_, std::io::Error>(None) };
        let next = match last {
            None => At::End,
            last => {
                let lines = read(last, PAGE).await.map_err(broken)?;
                At::of(&lines, format, false).map_err(broken)?
            }
        };
        Ok(Some((Bytes::from(bytes), (next, read))))
    });
    let (kind, ending) = match format {
        ExportFormat::Csv => ("text/csv; charset=utf-8", "csv"),
        ExportFormat::Json => ("application/json", "json"),
    };
    let named = format!("attachment; filename=\"{name}-log.{ending}\"");
    Ok(HttpResponse::Ok()
        .content_type(kind)
        .insert_header(("content-disposition", named))
        .streaming(Box::pin(chunks)))
}

fn broken(problem: Problem) -> std::io::Error {
    std::io::Error::other(problem.detail)
}

impl At {
    fn of<L: Line>(lines: &[L], format: ExportFormat, first: bool) -> Result<Self, Problem> {
        let last = (lines.len() == PAGE as usize).then(|| lines.last().map(|line| line.id().to_owned()));
        let last = last.flatten();
        let bytes = match format {
            ExportFormat::Csv => csv_of(lines, first),
            ExportFormat::Json => json_of(lines, first, last.is_none()),
        };
        let bytes = bytes.map_err(|why| {
            tracing::error!(why, "an export of a log");
            Problem::internal()
        })?;
        Ok(Self::Page(bytes, last))
    }
}

fn csv_of<L: Line>(lines: &[L], first: bool) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| error.to_string();
    if first {
        writer.write_record(L::COLUMNS).map_err(failed)?;
    }
    for line in lines {
        writer.write_record(line.cells().iter().map(|cell| plain(cell))).map_err(failed)?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

fn json_of<L: Line>(lines: &[L], first: bool, last: bool) -> Result<Vec<u8>, String> {
    let mut bytes = if first { b"[".to_vec() } else { Vec::new() };
    for (place, line) in lines.iter().enumerate() {
        if place > 0 || !first {
            bytes.extend_from_slice(b",\n");
        }
        serde_json::to_writer(&mut bytes, line).map_err(|error| error.to_string())?;
    }
    if last {
        bytes.extend_from_slice(b"]\n");
    }
    Ok(bytes)
}
