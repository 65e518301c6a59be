//! A form with files: its fields, and the folder that its files make. The number of the session comes first, so that
//! nobody else's page has a byte kept here.

use axum::body::Body;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use runyard_build::Limits;
use runyard_build::upload::{Folder, Upload, UploadError};

use crate::call::Trouble;
use crate::forms::Form;
use crate::session::Visit;

/// The largest field that is no file, in bytes, and the most of them.
const LARGEST: usize = 64 << 10;
const MOST: usize = 2_000;

/// Whether a form comes with files.
pub(crate) fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("multipart/form-data"))
}

fn refused(detail: impl Into<String>) -> Trouble {
    Trouble::new(StatusCode::BAD_REQUEST, "Not sent", detail)
}

fn of_upload(error: &UploadError) -> Trouble {
    refused(error.to_string())
}

/// Reads it; the folder is none where no file was chosen.
pub(crate) async fn read(
    visit: &Visit,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Form, Option<Folder>), Trouble> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|error| refused(error.to_string()))?;
    // What is read is bounded below, field by field and by what a bundle may be.
    let mut parts = multer::Multipart::new(
        body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other)),
        boundary,
    );
    let (mut form, mut upload) = (Form::default(), None);
    let broken = |error: multer::Error| refused(format!("the form broke off: {error}"));
    while let Some(mut field) = parts.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let Some(file) = field.file_name().map(str::to_owned) else {
            let mut bytes = Vec::new();
            while let Some(piece) = field.chunk().await.map_err(broken)? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > LARGEST {
                    return Err(refused(format!("the field '{name}' is larger than {} KiB", LARGEST >> 10)));
                }
            }
            if form.len() == MOST {
                return Err(refused("the form has too many fields"));
            }
            form.push(name, String::from_utf8_lossy(&bytes).into_owned());
            continue;
        };
        // A field of files in which nothing was chosen.
        if file.is_empty() {
            continue;
        }
        if !visit.owns(&form) {
            break;
        }
        let mut receiving = match upload.take() {
            Some(upload) => upload,
            None => blocking(|| Upload::new(Limits::default())).await?,
        };
        receiving = blocking(move || receiving.begin(&file).map(|()| receiving)).await?;
        while let Some(piece) = field.chunk().await.map_err(broken)? {
            receiving = blocking(move || receiving.write(&piece).map(|()| receiving)).await?;
        }
        upload = Some(receiving);
    }
    if !visit.owns(&form) {
        let detail =
            "this form is not one of your session's pages; open the page again and send it from there";
        return Err(Trouble::new(StatusCode::FORBIDDEN, "Not sent", detail));
    }
    let folder = match upload {
        Some(upload) => Some(blocking(move || upload.finish()).await?),
        None => None,
    };
    Ok((form, folder))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, Trouble> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| refused(error.to_string()))?.map_err(|error| of_upload(&error))
}
