//! The forms of a segment: its text, and the text compressed so that the compressed segments of a body
//! stand one after another.
//!
//! zstd's frames may. gzip's members may too, says its RFC, but many readers stop after the first;
//! so a gzip body is one member, and a segment is a run of its deflate blocks that ends with a full
//! flush: on a byte's edge, and without a memory that what follows could look back into.

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

/// The level is a matter of what a pass may cost: the next ones take twice the time for a few percent.
const DEFLATE_LEVEL: u32 = 2;
/// Shorter texts are not worth that compressor's preparations.
const SHORT: usize = 8 << 10;
const ZSTD_LEVEL: i32 = 1;

/// The head of a gzip file (RFC 1952, 2.3): deflate, no name, no time, no system.
pub(super) const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// What ends a gzip file: an empty last block, the sum and the length modulo 2^32.
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

/// The formats differ in families whose samples are written differently alone: histograms.
fn index(family: FamilyId, format: Format, encoding: Encoding) -> usize {
    let differs = matches!(family.kind, Kind::Histogram(_));
    let format = if differs { format } else { Format::Text };
    place(format, encoding)
}

/// The place of a format and encoding among the forms.
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

/// A ready form, or one that is made now.
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

/// What stands for the text of a segment that does not keep it: its length alone.
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
    /// A segment whose text, of this length, is written when it is sent.
    Text(&'a Arc<Segment>, u64),
}

/// Larger children, in the mean, need not be put together: few and large parts are sent faster than
/// many small ones, and a copy costs more than it saves.
const LARGE: usize = 32 << 10;

/// What a node comes to. Compressed bytes are put together; plain texts are large, and stay in their
/// segments alone.
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

/// The compressed bytes of a node, if it is worth it to put them together.
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

/// Forms of one encoding, one after another.
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

/// Makes everything of an account in a form.
pub(super) fn make(view: &View, format: Format, encoding: Encoding) {
    view.make(place(format, encoding), |view| {
        for node in view.families().iter().flatten() {
            parts(node, format, encoding, &mut |_| {});
        }
    });
}

/// Whether everything of an account is there.
pub(super) fn is_ready(view: &View, format: Format, encoding: Encoding) -> bool {
    view.is_made(place(format, encoding))
}

/// Whether a form is there.
pub(super) fn is_kept(segment: &Segment, format: Format, encoding: Encoding) -> bool {
    segment
        .kept(index(segment.family(), format, encoding))
        .is_some()
}

/// A form as the segment is at `now`, for one time.
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

/// The form of a text that is no segment's.
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
        // With room left in the output, everything has been flushed.
        let flushed = out.len() < out.capacity() && deflate.total_in() - begin == text.len() as u64;
        if flushed || !matches!(status, Ok(Status::Ok)) {
            return;
        }
    }
}
