//! `otlp`: a value comes from the file, else from the environment, else it is the default.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use reqwest::Url;

use super::{
    read::{Context, Map, headers_in, readable},
    tls::tls,
    tree::Environment,
    types::{Otlp, OtlpProtocol, Tls},
};
use crate::{files, secret::Secret};

/// The variables of the OpenTelemetry specification, the special ones of a signal first.
struct Variables<'a> {
    context: &'a Context,
    map: &'a Map<'a>,
    environment: &'a Environment<'a>,
}

impl Variables<'_> {
    /// The value of `OTEL_EXPORTER_OTLP_<signal>_<name>`, else of `OTEL_EXPORTER_OTLP_<name>`, with
    /// the variable's name; an empty variable is none.
    fn get(&self, signal: &str, name: &str) -> Option<(String, String)> {
        let names = [
            format!("OTEL_EXPORTER_OTLP_{signal}_{name}"),
            format!("OTEL_EXPORTER_OTLP_{name}"),
        ];
        names.into_iter().find_map(|name| {
            let value = (self.environment)(&name)?;
            (!value.trim().is_empty()).then(|| (name, value.trim().to_owned()))
        })
    }

    fn refuse(&self, name: &str, problem: &str) {
        self.context.error(
            &self.map.place,
            format!("the environment's {name} {problem}"),
        );
    }

    fn parsed<T>(&self, name: &str, want: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (variable, value) = self.get("METRICS", name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.refuse(&variable, &format!("is no {want}"));
        }
        parsed
    }

    /// Where a signal goes.
    fn endpoint(&self, signal: &str, path: &str, protocol: OtlpProtocol) -> Option<Url> {
        let parse = |text: &str| {
            let text = if text.contains("://") || protocol != OtlpProtocol::Grpc {
                text.to_owned()
            } else {
                // gRPC's own form, host and port, is plain or not by another variable.
                let plain = self
                    .get(signal, "INSECURE")
                    .is_some_and(|(_, value)| value == "true");
                format!("{}://{text}", if plain { "http" } else { "https" })
            };
            let url = Url::parse(&text).ok()?;
            (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
        };
        let with_path = |mut url: Url| {
            if protocol == OtlpProtocol::HttpProtobuf {
                let base = url.path().trim_end_matches('/').to_owned();
                url.set_path(&format!("{base}{path}"));
            }
            url
        };
        if self.map.get("endpoint").is_some() {
            if let Some(url) = self.map.url("endpoint") {
                return Some(with_path(url));
            }
        } else if let Some((variable, value)) = self.get(signal, "ENDPOINT") {
            match parse(&value) {
                // The variable of one signal is the whole address.
                Some(url) if variable.contains(signal) => return Some(url),
                Some(url) => return Some(with_path(url)),
                None => self.refuse(&variable, "is no URL; write it like http://localhost:4318"),
            }
        }
        let port = if protocol == OtlpProtocol::Grpc {
            4317
        } else {
            4318
        };
        Url::parse(&format!("http://localhost:{port}"))
            .ok()
            .map(with_path)
    }
}

pub(super) fn read(
    context: &Context,
    map: &Map<'_>,
    environment: &Environment<'_>,
) -> Option<Otlp> {
    let variables = Variables {
        context,
        map,
        environment,
    };
    let protocol = |word: &str| match word {
        "grpc" => Some(OtlpProtocol::Grpc),
        "http/protobuf" => Some(OtlpProtocol::HttpProtobuf),
        _ => None,
    };
    let protocol = match map.word("protocol") {
        Some(word) => protocol(word),
        None if map.get("protocol").is_some() => None,
        None => variables.parsed(
            "PROTOCOL",
            "protocol that is spoken here: grpc or http/protobuf",
            protocol,
        ),
    };
    let protocol = protocol.unwrap_or(OtlpProtocol::HttpProtobuf);
    let timeout = if map.get("timeout").is_some() {
        None
    } else {
        let milliseconds = |text: &str| text.parse().ok().map(Duration::from_millis);
        variables.parsed("TIMEOUT", "number of milliseconds", milliseconds)
    };
    let gzip = match map.word("compression") {
        Some(word) => Some(word == "gzip"),
        None if map.get("compression").is_some() => None,
        None => variables.parsed(
            "COMPRESSION",
            "compression: gzip or none",
            |word| match word {
                "gzip" => Some(true),
                "none" => Some(false),
                _ => None,
            },
        ),
    };
    let otlp = Otlp {
        metrics_endpoint: variables.endpoint("METRICS", "/v1/metrics", protocol)?,
        traces_endpoint: variables.endpoint("TRACES", "/v1/traces", protocol)?,
        protocol,
        interval: map.duration("interval"),
        timeout: timeout.unwrap_or_else(|| map.duration("timeout")),
        gzip: gzip.unwrap_or(true),
        headers: headers(context, map, &variables),
        tls: connection(context, map, &variables),
        max_points_per_request: map.size("max_points_per_request"),
        traces: map.truth("traces"),
    };
    for (name, zero) in [
        ("interval", otlp.interval.is_zero()),
        ("timeout", otlp.timeout.is_zero()),
        ("max_points_per_request", otlp.max_points_per_request == 0),
    ] {
        if zero {
            let place = map.get(name).map_or(&map.place, |node| &node.place);
            context.error(place, format!("{name} has to be more than 0"));
        }
    }
    Some(otlp)
}

fn headers(context: &Context, map: &Map<'_>, variables: &Variables<'_>) -> Vec<(String, Secret)> {
    let mut headers = BTreeMap::new();
    let own = map.names("headers");
    match (map.get("headers"), map.get("headers_file")) {
        (Some(_), Some(node)) => {
            context.error(
                &node.place,
                "headers and headers_file are both there; keep one of them",
            );
        }
        (None, Some(node)) => {
            if let Some(path) = map.path("headers_file") {
                match files::read_text(&path, files::MAX_SECRET)
                    .map_err(|error| error.to_string())
                    .and_then(|text| {
                        headers_in(&text)
                            .map_err(|line| format!("line {line} is not of the form Name: value"))
                    }) {
                    Ok(found) => {
                        context.warn_if_readable("headers_file", &node.place, &path);
                        headers = found;
                    }
                    Err(problem) => {
                        let text = format!("headers_file: {}: {problem}", path.display());
                        context.error(&node.place, text);
                    }
                }
            }
        }
        (Some(_), None) => {
            for (name, _, node) in own {
                if let Some(value) = context.text(name, node) {
                    headers.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        (None, None) => {
            if let Some((variable, value)) = variables.get("METRICS", "HEADERS") {
                for pair in value.split(',').filter(|pair| !pair.trim().is_empty()) {
                    match pair.split_once('=') {
                        Some((name, value)) => {
                            headers.insert(name.trim().to_owned(), percent_decoded(value.trim()));
                        }
                        None => {
                            variables.refuse(&variable, "is not of the form name=value,name=value")
                        }
                    }
                }
            }
        }
    }
    let place = map
        .get("headers")
        .or(map.get("headers_file"))
        .map_or(&map.place, |node| &node.place);
    for (name, value) in &headers {
        let good = http::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && http::HeaderValue::from_str(value).is_ok();
        if !good {
            context.error(place, format!("the header {name:?} cannot be sent: its name or value has a character that headers must not have"));
        }
    }
    headers
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| {
            std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        });
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn connection(context: &Context, map: &Map<'_>, variables: &Variables<'_>) -> Tls {
    if map.get("tls").is_some() {
        return tls(context, map);
    }
    let file = |name: &str| {
        let (variable, value) = variables.get("METRICS", name)?;
        let path = PathBuf::from(value);
        match readable(&path) {
            Err(problem) => variables.refuse(&variable, &format!("cannot be read: {problem}")),
            Ok(()) if name == "CLIENT_KEY" => {
                context.warn_if_readable(&variable, &map.place, &path);
            }
            Ok(()) => {}
        }
        Some(path)
    };
    Tls {
        ca_file: file("CERTIFICATE"),
        cert_file: file("CLIENT_CERTIFICATE"),
        key_file: file("CLIENT_KEY"),
    }
}
