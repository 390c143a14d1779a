//! Builds OTLP requests from the series. Each request is passed on as soon as it is built, so that a push
//! never holds all of them in memory.

use std::mem;

use delivery_clock::Moment;
use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message;

use crate::{
    catalog::{Family, FamilyId, Kind},
    series::{self, Labels, Remembered, ShownSeries, Value},
};

/// Below the default limit of a collector's gRPC server, 4 MiB.
const MAX_BYTES: usize = 3_500_000;
/// `DataPointFlags::NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u32 = 1;

/// A request with the number of its points.
pub(super) struct Batch {
    pub(super) request: ExportMetricsServiceRequest,
    pub(super) points: u64,
}

/// What identifies this exporter to the receiver.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) replica: String,
}

/// Names of a resource's attributes and their values.
pub(super) fn resource(replica: &str) -> [(&'static str, String); 3] {
    [
        ("service.name", env!("CARGO_PKG_NAME").to_owned()),
        ("service.instance.id", replica.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}

/// Builds the requests of one push.
pub(super) struct Builder<'a> {
    identity: &'a Identity,
    now: u64,
    max_points: usize,
    send: &'a mut dyn FnMut(Batch) -> bool,
    metrics: Vec<Metric>,
    points: usize,
    bytes: usize,
    /// Whether the receiving side has ended, so that nothing more is built.
    gone: bool,
}

impl<'a> Builder<'a> {
    /// `send` receives each request, and returns `false` to stop.
    pub(super) fn new(
        identity: &'a Identity,
        now: Timestamp,
        max_points: usize,
        send: &'a mut dyn FnMut(Batch) -> bool,
    ) -> Builder<'a> {
        Builder {
            identity,
            now: nanoseconds(now),
            max_points,
            send,
            metrics: Vec::new(),
            points: 0,
            bytes: 0,
            gone: false,
        }
    }

    /// Builds the requests: a point for each series that is exposed at `now`, and a last point for each
    /// series of `before` that has been removed.
    pub(super) fn build(mut self, shown: &ShownSeries, before: &Remembered, now: Moment) {
        for (family, segments) in shown.families() {
            let segments: Vec<_> = segments.collect();
            for segment in &segments {
                segment.visit(Some(now), &mut |labels, value| {
                    self.add(family, labels, Some(value));
                });
            }
            before.visit_left(family, &segments, now, &mut |labels| {
                self.add(family, labels, None)
            });
        }
        self.flush();
    }

    fn add(&mut self, family: FamilyId, labels: Labels<'_>, value: Option<&Value>) {
        if self.gone {
            return;
        }
        let pairs = labels.pairs();
        let attributes = pairs.map(|(name, value)| attribute(name, value.to_owned()));
        let attributes = attributes.collect();
        let data = data(family.family(), attributes, value, self.now);
        self.bytes += match &data {
            Data::Gauge(gauge) => gauge.encoded_len(),
            Data::Sum(sum) => sum.encoded_len(),
            Data::Histogram(histogram) => histogram.encoded_len(),
            _ => 0,
        };
        match self.metrics.last_mut() {
            Some(metric) if metric.name == family.otlp_name => append(metric, data),
            _ => {
                let metric = Metric {
                    name: family.otlp_name.to_owned(),
                    description: series::help(family).to_owned(),
                    unit: family.unit.to_owned(),
                    metadata: Vec::new(),
                    data: Some(data),
                };
                self.bytes += metric.name.len() + metric.description.len() + 32;
                self.metrics.push(metric);
            }
        }
        self.points += 1;
        if self.points >= self.max_points || self.bytes >= MAX_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.points == 0 || self.gone {
            return;
        }
        let attributes = resource(&self.identity.replica)
            .into_iter()
            .map(|(name, value)| attribute(name, value))
            .collect();
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes,
                    ..Resource::default()
                }),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        name: env!("CARGO_PKG_NAME").to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    metrics: mem::take(&mut self.metrics),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        let points = mem::take(&mut self.points) as u64;
        self.bytes = 0;
        self.gone = !(self.send)(Batch { request, points });
    }
}

fn attribute(name: &str, value: String) -> KeyValue {
    let value = Some(AnyValue {
        value: Some(any_value::Value::StringValue(value)),
    });
    KeyValue {
        key: name.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

/// One data point. All numbers are doubles: counts are below 2^53, where doubles are exact, and a metric must
/// not change its type between pushes.
fn data(
    family: &'static Family,
    attributes: Vec<KeyValue>,
    value: Option<&Value>,
    now: u64,
) -> Data {
    let flags = if value.is_none() {
        NO_RECORDED_VALUE
    } else {
        0
    };
    let temporality = AggregationTemporality::Cumulative.into();
    if let Kind::Histogram(bounds) = family.kind {
        let (histogram, start) = match value {
            Some(Value::Histogram(histogram, start)) => {
                (histogram.clone(), nanoseconds(*start).min(now))
            }
            _ => (Box::new(series::Histogram::new(bounds)), 0),
        };
        let recorded = value.is_some();
        return Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: now,
                count: histogram.count(),
                sum: recorded.then_some(histogram.sum),
                bucket_counts: if recorded {
                    histogram.buckets
                } else {
                    Vec::new()
                },
                explicit_bounds: if recorded {
                    bounds.to_vec()
                } else {
                    Vec::new()
                },
                flags,
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: temporality,
        });
    }
    // Handles a start time from a clock that was ahead.
    let start_of = |start: Timestamp| nanoseconds(start).min(now);
    let (number, start) = match value {
        Some(Value::Gauge(number)) => (Some(*number), 0),
        Some(Value::Counter(number, start)) => (Some(*number), start_of(*start)),
        _ => (None, 0),
    };
    let point = NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: number.map(|number| number_data_point::Value::AsDouble(number.as_f64())),
        flags,
        ..NumberDataPoint::default()
    };
    match family.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        _ => Data::Gauge(Gauge {
            data_points: vec![point],
        }),
    }
}

/// Adds the point of `data` to a metric of the same family.
fn append(metric: &mut Metric, data: Data) {
    match (&mut metric.data, data) {
        (Some(Data::Gauge(all)), Data::Gauge(one)) => all.data_points.extend(one.data_points),
        (Some(Data::Sum(all)), Data::Sum(one)) => all.data_points.extend(one.data_points),
        (Some(Data::Histogram(all)), Data::Histogram(one)) => {
            all.data_points.extend(one.data_points);
        }
        _ => {}
    }
}
