//! The exposition: OpenMetrics 1.0 and the classic text format, compressed as the scraper likes.

mod negotiate;
#[cfg(test)]
mod tests;
mod writer;

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;

pub use negotiate::{Encoding, Format};

use crate::series::{Table, Visitor};

/// The level of zstd: as fast as gzip at its fastest, and smaller.
const ZSTD_LEVEL: i32 = 1;

/// Everything that is exposed at `now`, in the format and encoding that the request's headers ask
/// for, with the headers of the answer.
///
/// # Errors
///
/// Compression failed, for want of memory.
pub fn scrape(
    table: &Table,
    now: Timestamp,
    request: &HeaderMap,
) -> io::Result<(HeaderMap, Bytes)> {
    answer(request, |writer| table.visit(now, writer))
}

/// What `show` shows, in the format and encoding that the request's headers ask for.
///
/// # Errors
///
/// As of [`scrape`].
pub fn answer(
    request: &HeaderMap,
    show: impl FnOnce(&mut dyn Visitor),
) -> io::Result<(HeaderMap, Bytes)> {
    let format = negotiate::format(request);
    let encoding = negotiate::encoding(request);
    let mut writer = writer::Writer::new(format);
    show(&mut writer);
    let body = encoding.encode(writer.finish())?;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Accept, Accept-Encoding"),
    );
    if let Some(name) = encoding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    Ok((headers, body))
}

/// Everything that is exposed at `now`, as text.
pub fn render(table: &Table, now: Timestamp, format: Format) -> String {
    let mut writer = writer::Writer::new(format);
    table.visit(now, &mut writer);
    writer.finish()
}

impl Encoding {
    fn encode(self, text: String) -> io::Result<Bytes> {
        match self {
            Encoding::Identity => Ok(text.into()),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(text.as_bytes())?;
                encoder.finish().map(Bytes::from)
            }
            Encoding::Zstd => zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL).map(Bytes::from),
        }
    }
}
