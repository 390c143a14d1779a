//! The exposition for Prometheus: OpenMetrics 1.0.0 and Prometheus text 0.0.4, plain, gzip or zstd.
//!
//! Values change when a pass ends, not when a scrape arrives. So segments are rendered and compressed when
//! they change, in the forms that scrapers currently use, and a scrape only concatenates prepared bytes.

mod body;
mod checksum;
mod forms;
mod lines;
mod negotiate;
#[cfg(test)]
mod tests;
mod whole;
mod writer;

use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use delivery_clock::{Clock, Moment};
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;

use forms::Made;
use whole::Latest;

use body::Part;
pub use body::Parts;
pub use negotiate::{Encoding, Format};

use crate::{
    blocking::run_blocking_if_large,
    catalog::{all, families},
    series::{
        Checksum, EncodedSegment, FORMS, FormSet, History, Prepare, Segment, ShownSeries, Table,
        View, Visitor, walk,
    },
};

/// A form that has not been read for this time is no longer encoded in advance.
const KEEP: Duration = Duration::from_secs(15 * 60);

/// Answers scrapes, and encodes their parts in advance.
pub struct Exposition {
    clock: Clock,
    /// When each format and encoding was last read, in milliseconds since the start, plus 1.
    read: [AtomicU64; FORMS],
    latest: Arc<Latest>,
}

/// A scrape in progress, with a snapshot of all series.
pub struct Scrape {
    shown: ShownSeries,
    latest: Arc<Latest>,
    now: Moment,
    format: Format,
    encoding: Encoding,
}

impl Exposition {
    /// An exposition that has not been scraped yet.
    pub fn new(clock: Clock) -> Exposition {
        Exposition {
            clock,
            read: Default::default(),
            latest: Arc::default(),
        }
    }

    /// Starts a scrape of the table in the form that the request asks for.
    pub fn scrape(&self, table: &Table, request: &HeaderMap) -> Scrape {
        let format = negotiate::format(request);
        let encoding = negotiate::encoding(request);
        self.read[forms::place(format, encoding)].store(self.time() + 1, Ordering::Relaxed);
        Scrape {
            shown: table.shown(),
            latest: self.latest.clone(),
            now: self.clock.monotonic(),
            format,
            encoding,
        }
    }

    fn time(&self) -> u64 {
        let time = self.clock.monotonic().since_start().as_millis();
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// The formats and encodings that are currently in use.
    fn read_now(&self) -> impl Iterator<Item = (Format, Encoding)> {
        let time = self.time();
        CHOICES.into_iter().filter(move |(format, encoding)| {
            let read = self.read[forms::place(*format, *encoding)].load(Ordering::Relaxed);
            read > 0 && u128::from(time.saturating_sub(read)) < KEEP.as_millis()
        })
    }
}

/// Up to this number of forms, encoding takes no longer than other work of the collectors.
const FEW: usize = 32;

const CHOICES: [(Format, Encoding); FORMS] = [
    // Texts come first, because the other forms are made from them.
    (Format::Text, Encoding::Identity),
    (Format::OpenMetrics, Encoding::Identity),
    (Format::Text, Encoding::Gzip),
    (Format::OpenMetrics, Encoding::Gzip),
    (Format::Text, Encoding::Zstd),
    (Format::OpenMetrics, Encoding::Zstd),
];

impl Prepare for Exposition {
    fn wanted(&self) -> FormSet {
        let needed = |(format, encoding)| forms::needed(format, encoding);
        let wanted = self.read_now().map(needed).fold(0, |all, own| all | own);
        if wanted == 0 {
            self.latest.clear();
        }
        wanted
    }

    fn texts(&self) -> FormSet {
        forms::TEXTS
    }

    fn prepare(&self, view: &View) {
        let choices: Vec<_> = self.read_now().collect();
        let all = view.segments().iter();
        let all = all.flat_map(|segment| choices.iter().map(move |choice| (segment, choice)));
        let mut missing = all
            .filter(|(segment, (format, encoding))| !forms::is_kept(segment, *format, *encoding));
        let many = missing.nth(FEW).is_some();
        run_blocking_if_large(many, || {
            for (format, encoding) in &choices {
                forms::make(view, *format, *encoding);
            }
        });
        self.latest.renew(view);
    }
}

impl Scrape {
    /// Whether everything is rendered and compressed, except for the little that changes with each scrape.
    pub fn is_ready(&self) -> bool {
        self.shown.accounts().iter().all(|account| {
            let whole = account.whole(self.now);
            whole.is_some_and(|view| forms::is_ready(view, self.format, self.encoding))
        })
    }

    /// The response: its headers, and the body in parts.
    pub fn answer(&self) -> (HeaderMap, Parts) {
        let Scrape {
            format, encoding, ..
        } = *self;
        let mut assembly = Assembly::new(encoding);
        let heads = &HEADS[forms::place(format, encoding)];
        let accounts = self.shown.accounts();
        let (mut ready, mut others) = (Vec::with_capacity(accounts.len()), Vec::new());
        for account in accounts {
            match account.whole(self.now) {
                Some(view) => {
                    forms::make(view, format, encoding);
                    ready.push(view);
                }
                None => others.push(account),
            }
        }
        let whole = self.latest.of(&ready);
        for family in families() {
            let mut head = Some(&heads[family.index()]);
            let mut add = |made: Made<'_>| {
                let is_empty = match &made {
                    Made::Form(form) => form.sum.length == 0,
                    Made::Text(_, length) => *length == 0,
                };
                if is_empty {
                    return;
                }
                head.take().into_iter().for_each(|head| assembly.add(head));
                match made {
                    Made::Form(form) => assembly.add(form),
                    Made::Text(segment, length) => assembly.add_text(segment, format, length),
                }
            };
            for account in &others {
                self.add(account.segments(family), &mut add);
            }
            for node in whole.family(family) {
                forms::parts(node, format, encoding, &mut add);
            }
            self.add(self.shown.process(family), &mut add);
        }
        if format == Format::OpenMetrics {
            assembly.add(&forms::of_text(writer::END, encoding));
        }
        (headers(format, encoding), Parts::new(assembly.finish()))
    }

    fn add(&self, segments: &[Arc<Segment>], add: &mut impl FnMut(Made<'_>)) {
        let (format, encoding) = (self.format, self.encoding);
        for segment in segments {
            if segment.is_stale(self.now) {
                let form = forms::new(segment, Some(self.now), format, encoding);
                add(Made::Form(&form));
            } else {
                add(forms::part(segment, format, encoding));
            }
        }
    }
}

/// The metadata lines of families, by format and encoding, and by family.
static HEADS: LazyLock<[Vec<EncodedSegment>; FORMS]> = LazyLock::new(|| {
    let mut heads: [Vec<EncodedSegment>; FORMS] = Default::default();
    for (format, encoding) in CHOICES {
        let of_family = all().map(|family| {
            let mut text = String::new();
            writer::head(&mut text, format, family);
            forms::of_text(&text, encoding)
        });
        heads[forms::place(format, encoding)] = of_family.collect();
    }
    heads
});

/// Assembles a body from forms.
struct Assembly {
    encoding: Encoding,
    parts: Vec<Part>,
    sum: Checksum,
}

impl Assembly {
    fn new(encoding: Encoding) -> Assembly {
        let mut parts = Vec::new();
        if encoding == Encoding::Gzip {
            parts.push(Part::Ready(Bytes::from_static(forms::GZIP_HEAD)));
        }
        Assembly {
            encoding,
            parts,
            sum: checksum::EMPTY,
        }
    }

    fn add(&mut self, form: &EncodedSegment) {
        if self.encoding == Encoding::Gzip {
            checksum::append(&mut self.sum, form.sum);
        }
        self.parts.push(Part::Ready(form.bytes.clone()));
    }

    fn add_text(&mut self, segment: &Arc<Segment>, format: Format, length: u64) {
        self.parts.push(Part::Text(segment.clone(), format, length));
    }

    fn finish(mut self) -> Vec<Part> {
        if self.encoding == Encoding::Gzip {
            self.parts.push(Part::Ready(forms::gzip_end(self.sum)));
        }
        self.parts
    }
}

fn headers(format: Format, encoding: Encoding) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    // A cache must not mix up the responses for scrapers that accept different forms.
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Accept, Accept-Encoding"),
    );
    if let Some(name) = encoding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    headers
}

/// The response with the few series that `show` visits.
pub fn answer(request: &HeaderMap, show: impl FnOnce(&mut dyn Visitor)) -> (HeaderMap, Parts) {
    let format = negotiate::format(request);
    let encoding = negotiate::encoding(request);
    let mut writer = writer::Writer::new(format);
    show(&mut writer);
    let mut assembly = Assembly::new(encoding);
    assembly.add(&forms::of_text(&writer.finish(), encoding));
    (headers(format, encoding), Parts::new(assembly.finish()))
}

/// Writes historic series, in OpenMetrics with timestamps. Returns the numbers of series and samples.
///
/// # Errors
///
/// It cannot be written.
pub fn write_history(
    histories: &[History],
    output: &mut dyn io::Write,
) -> io::Result<(usize, usize)> {
    let mut text = String::new();
    let mut last = "";
    let (mut series, mut samples) = (0, 0);
    let mut done = Ok(());
    walk(histories, &mut |family, dated| {
        if done.is_err() {
            return;
        }
        if std::mem::replace(&mut last, family.name) != family.name {
            writer::head(&mut text, Format::OpenMetrics, family);
        }
        writer::dated(&mut text, &family, &dated);
        series += 1;
        samples += dated.samples.len();
        done = output.write_all(text.as_bytes());
        text.clear();
    });
    done?;
    output.write_all(writer::END.as_bytes())?;
    Ok((series, samples))
}

/// All series as they are at `now`, as text.
pub fn render(table: &Table, now: Timestamp, format: Format) -> String {
    let mut writer = writer::Writer::new(format);
    table.visit(now, &mut writer);
    writer.finish()
}
