//! `backtests/{id}/download`: the folder of a run as one file.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use actix_web::body::SizedStream;
use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, get};
use futures_util::stream;
use tokio::io::AsyncReadExt;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::results::run_of;
use crate::auth::{As, Viewer};
use crate::context::Context;
use crate::problem::Problem;

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;

/// The results of a backtest as a ZIP file
///
/// All files of its folder, in a folder of the run's name: tables as Parquet, `summary.json`, `report.html`. 409 with code
/// `not-done` before its end; 404 where its folder is gone, or on another node.
#[utoipa::path(tag = "backtests", params(("job_id" = String, Path, description = "Its id")),
    security(("bearer" = ["viewer"])),
    responses((status = 200, description = "The file", content((Vec<u8> = "application/zip")))))]
#[get("/backtests/{job_id}/download")]
pub(crate) async fn download(
    shared: Context,
    caller: As<Viewer>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let name = run_of(&shared, &caller, &id).await?;
    let (folder, scratch) = (shared.jobs.results.join(&name), shared.jobs.folder.clone());
    let root = name.clone();
    let packed = web::block(move || pack(&folder, &root, &scratch));
    let packed = packed.await.map_err(|_| Problem::unavailable("the server is stopping"))?;
    let (file, length) = packed.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::missing("folder of results on this node"),
        _ => {
            tracing::error!(%error, run = name, "a run can't be packed");
            Problem::internal()
        }
    })?;
    let chunks = stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async move {
        let mut chunk = vec![0; CHUNK];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok::<_, io::Error>((count > 0).then(|| (Bytes::from(chunk), file)))
    });
    let named = format!("attachment; filename=\"{}.zip\"", plain(&name));
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header(("content-disposition", named))
        .body(SizedStream::new(length, Box::pin(chunks))))
}

/// A name that needs no quoting in a header.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+=,".contains(c);
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// Packs a folder into a file that has no name, so that it is gone when the answer is: the file at its beginning, and its
/// length. Links are left out: they may lead anywhere.
fn pack(folder: &Path, root: &str, scratch: &Path) -> io::Result<(File, u64)> {
    if !fs::symlink_metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::create_dir_all(scratch)?;
    let mut zip = ZipWriter::new(io::BufWriter::new(tempfile::tempfile_in(scratch)?));
    let mut waiting = vec![(folder.to_owned(), root.to_owned())];
    while let Some((folder, name)) = waiting.pop() {
        let mut entries: Vec<(PathBuf, String)> = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // A name that is no Unicode is not one of ours.
            if let Some(file) = entry.file_name().to_str() {
                entries.push((entry.path(), format!("{name}/{file}")));
            }
        }
        entries.sort();
        for (path, name) in entries {
            let about = fs::symlink_metadata(&path)?;
            if about.is_dir() {
                waiting.push((path, name));
            } else if about.is_file() {
                // Parquet is compressed already.
                let method = match path.extension().is_some_and(|ending| ending == "parquet") {
                    true => CompressionMethod::Stored,
                    false => CompressionMethod::Deflated,
                };
                let large = about.len() >= u64::from(u32::MAX);
                let options = SimpleFileOptions::default().compression_method(method).large_file(large);
                zip.start_file(name, options)?;
                io::copy(&mut File::open(&path)?, &mut zip)?;
            }
        }
    }
    let mut file = zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    let length = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_folder_is_packed_without_what_links_lead_to() {
        let place = tempfile::tempdir().unwrap();
        let (folder, scratch) = (place.path().join("run"), place.path().join("scratch"));
        fs::create_dir_all(folder.join("more")).unwrap();
        fs::write(place.path().join("secret"), "not yours").unwrap();
        fs::write(folder.join("summary.json"), "{}".repeat(100_000)).unwrap();
        fs::write(folder.join("more/a.parquet"), [7; 1000]).unwrap();
        std::os::unix::fs::symlink(place.path().join("secret"), folder.join("link")).unwrap();
        std::os::unix::fs::symlink(place.path(), folder.join("up")).unwrap();
        let (file, length) = pack(&folder, "run", &scratch).unwrap();
        assert_eq!(file.metadata().unwrap().len(), length);
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "the file has no name");
        let mut zip = zip::ZipArchive::new(file).unwrap();
        let mut names: Vec<_> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["run/more/a.parquet", "run/summary.json"]);
        let mut text = String::new();
        zip.by_name("run/summary.json").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "{}".repeat(100_000));
        // A link in its place is none.
        std::os::unix::fs::symlink(&folder, place.path().join("other")).unwrap();
        for other in ["other", "none"] {
            let error = pack(&place.path().join(other), other, &scratch).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{other}");
        }
        assert_eq!(plain("a\"b\r\nc é-1.x"), "a_b__c__-1.x");
    }
}
