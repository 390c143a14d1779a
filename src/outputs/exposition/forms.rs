//! The forms of a segment: its text, and its compressed text in a form that can be concatenated with that of
//! other segments.
//!
//! Frames of zstd can be concatenated. According to its RFC, members of gzip can be too, but many readers
//! stop after the first. So a gzip body is a single member, and a segment is a run of deflate blocks that
//! ends with a full flush: at a byte boundary, and without a window for later back-references.

use std::{cell::RefCell, sync::Arc};

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};

use super::{
    Encoding, Format, checksum, lines,
    writer::{self, Lines},
};
use crate::{
    catalog::{FamilyId, Kind},
    series::{Checksum, Concat, EncodedSegment, FORMS, FormSet, Node, Segment, Value, View},
};
use delivery_clock::Moment;

/// Limits the cost of a pass: higher levels take twice the time and save only a few percent.
const DEFLATE_LEVEL: u32 = 2;
/// For shorter texts, setting up that compressor costs more than it saves.
const SHORT: usize = 8 << 10;
const ZSTD_LEVEL: i32 = 1;

/// The header of a gzip file (RFC 1952, 2.3): deflate, without name, time and operating system.
pub(super) const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The end of a gzip file: an empty last block, the checksum, and the length modulo 2^32.
pub(super) fn gzip_end(sum: Checksum) -> Bytes {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "RFC 1952 wants it modulo 2^32"
    )]
    let length = sum.length as u32;
    let mut end = vec![3, 0];
    end.extend(sum.crc.to_le_bytes());
    end.extend(length.to_le_bytes());
    end.into()
}

/// The formats differ only for families whose samples are written differently: histograms.
fn index(family: FamilyId, format: Format, encoding: Encoding) -> usize {
    let differs = matches!(family.kind, Kind::Histogram(_));
    let format = if differs { format } else { Format::Text };
    place(format, encoding)
}

/// The index of a format and encoding among the forms.
pub(super) fn place(format: Format, encoding: Encoding) -> usize {
    let encoding = match encoding {
        Encoding::Identity => 0,
        Encoding::Gzip => 1,
        Encoding::Zstd => 2,
    };
    match format {
        Format::Text => encoding,
        Format::OpenMetrics => encoding + FORMS / 2,
    }
}

/// The forms that are needed for a format and encoding.
pub(super) fn needed(format: Format, encoding: Encoding) -> FormSet {
    1 << place(format, encoding) | 1 << place(Format::Text, encoding)
}

/// The form of a segment, encoded now if necessary.
pub(super) fn form(segment: &Segment, format: Format, encoding: Encoding) -> &Arc<EncodedSegment> {
    segment.form(index(segment.family(), format, encoding), || {
        let text = index(segment.family(), format, Encoding::Identity);
        if !segment.keeps_text() && encoding == Encoding::Identity {
            return length(segment, format);
        }
        let text = segment.kept(text).filter(|_| segment.keeps_text());
        match text.filter(|_| encoding != Encoding::Identity) {
            Some(text) => compressed(&text.bytes, text.sum, encoding),
            None => new(segment, None, format, encoding),
        }
    })
}

/// The forms that are plain text.
pub(super) const TEXTS: FormSet = 1 | 1 << (FORMS / 2);

/// Replaces the text of a segment that does not keep it: contains only the length.
fn length(segment: &Segment, format: Format) -> EncodedSegment {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write(segment, None, format, text);
        EncodedSegment {
            bytes: Bytes::new(),
            sum: Checksum {
                length: text.len() as u64,
                ..checksum::EMPTY
            },
        }
    })
}

/// Writes the text of a segment.
pub(super) fn write(segment: &Segment, now: Option<Moment>, format: Format, text: &mut String) {
    let family = segment.family().family();
    let mut lines = None;
    segment.visit(now, &mut |labels, value| match value {
        Value::Gauge(number) | Value::Counter(number, _) => lines
            .get_or_insert_with(|| Lines::new(family, labels))
            .write(text, labels, *number),
        Value::Histogram(..) => writer::sample(text, format, family, labels, value),
    });
}

/// A part of a body.
pub(super) enum Made<'a> {
    /// Ready bytes.
    Form(&'a EncodedSegment),
    /// A segment whose text, of this length, is rendered when it is sent.
    Text(&'a Arc<Segment>, u64),
}

/// Children with a larger average size are not concatenated: a few large parts are sent quickly, and copying
/// them costs more than it saves.
const LARGE: usize = 32 << 10;

/// The parts of a node. Compressed bytes are concatenated; plain texts are large, and are kept only in their
/// segments.
pub(super) fn parts(
    node: &Concat,
    format: Format,
    encoding: Encoding,
    add: &mut impl FnMut(Made<'_>),
) {
    let together = (encoding != Encoding::Identity).then(|| encoded(node, format, encoding));
    match together.flatten() {
        Some(together) => add(Made::Form(together)),
        None => {
            for child in node.children() {
                match child {
                    Node::Segment(segment) => add(part(segment, format, encoding)),
                    Node::Concat(concat) => parts(concat, format, encoding, add),
                }
            }
        }
    }
}

/// A segment as a part of a body.
pub(super) fn part(segment: &Arc<Segment>, format: Format, encoding: Encoding) -> Made<'_> {
    let form = form(segment, format, encoding);
    if !segment.keeps_text() && encoding == Encoding::Identity {
        Made::Text(segment, form.sum.length)
    } else {
        Made::Form(form)
    }
}

/// The concatenated compressed bytes of a node, if concatenating pays off.
fn encoded(node: &Concat, format: Format, encoding: Encoding) -> Option<&Arc<EncodedSegment>> {
    node.encoded(index(node.family(), format, encoding), |node| {
        let mut children = Vec::with_capacity(node.children().len());
        for child in node.children() {
            children.push(match child {
                Node::Segment(segment) => form(segment, format, encoding),
                Node::Concat(concat) => encoded(concat, format, encoding)?,
            });
        }
        children.retain(|child| child.sum.length > 0);
        if let [child] = &children[..] {
            return Some(Arc::clone(child));
        }
        let size: usize = children.iter().map(|child| child.bytes.len()).sum();
        (size <= LARGE * children.len()).then(|| Arc::new(together(&children, size)))
    })
}

/// Concatenates forms of one encoding.
fn together(forms: &[&Arc<EncodedSegment>], size: usize) -> EncodedSegment {
    let mut bytes = BytesMut::with_capacity(size);
    let mut sum = checksum::EMPTY;
    for form in forms {
        bytes.extend_from_slice(&form.bytes);
        sum = checksum::join(sum, form.sum);
    }
    EncodedSegment {
        bytes: bytes.freeze(),
        sum,
    }
}

/// Encodes everything of an account in a form.
pub(super) fn make(view: &View, format: Format, encoding: Encoding) {
    view.make(place(format, encoding), |view| {
        for node in view.families().iter().flatten() {
            parts(node, format, encoding, &mut |_| {});
        }
    });
}

/// Whether everything of an account is encoded.
pub(super) fn is_ready(view: &View, format: Format, encoding: Encoding) -> bool {
    view.is_made(place(format, encoding))
}

/// Whether a form is encoded.
pub(super) fn is_kept(segment: &Segment, format: Format, encoding: Encoding) -> bool {
    segment
        .kept(index(segment.family(), format, encoding))
        .is_some()
}

/// A form of the segment at `now`, for a single use.
pub(super) fn new(
    segment: &Segment,
    now: Option<Moment>,
    format: Format,
    encoding: Encoding,
) -> EncodedSegment {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        write(segment, now, format, text);
        let sum = checksum::of(text.as_bytes());
        compressed(text.as_bytes(), sum, encoding)
    })
}

/// The form of a text that does not belong to a segment.
pub(super) fn of_text(text: &str, encoding: Encoding) -> EncodedSegment {
    compressed(text.as_bytes(), checksum::of(text.as_bytes()), encoding)
}

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    static DEFLATE: RefCell<(Compress, Vec<u8>)> =
        RefCell::new((Compress::new(Compression::new(DEFLATE_LEVEL), false), Vec::new()));
}

fn compressed(text: &[u8], sum: Checksum, encoding: Encoding) -> EncodedSegment {
    let bytes = match encoding {
        _ if text.is_empty() => Bytes::new(),
        Encoding::Identity => Bytes::copy_from_slice(text),
        Encoding::Gzip => DEFLATE.with_borrow_mut(|(deflate, out)| {
            out.clear();
            if text.len() < SHORT {
                lines::deflate(text, out);
            } else {
                deflated(deflate, text, out);
            }
            Bytes::copy_from_slice(out)
        }),
        Encoding::Zstd => zstd::bulk::compress(text, ZSTD_LEVEL)
            .map(Bytes::from)
            .unwrap_or_default(),
    };
    EncodedSegment { bytes, sum }
}

/// Deflates a text up to a full flush.
fn deflated(deflate: &mut Compress, text: &[u8], out: &mut Vec<u8>) {
    let begin = deflate.total_in();
    loop {
        let done = usize::try_from(deflate.total_in() - begin).unwrap_or(usize::MAX);
        let rest = text.get(done..).unwrap_or_default();
        out.reserve(rest.len() / 8 + 1024);
        let status = deflate.compress_vec(rest, out, FlushCompress::Full);
        // If there is space left in the output, everything has been flushed.
        let flushed = out.len() < out.capacity() && deflate.total_in() - begin == text.len() as u64;
        if flushed || !matches!(status, Ok(Status::Ok)) {
            return;
        }
    }
}
