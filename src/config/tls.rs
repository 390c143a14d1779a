//! `tls`, of a provider and of `otlp`.

use super::{
    read::{Context, Map, readable},
    schema::Section,
    types::Tls,
};

/// TLS of a connection: the files are there, and certificate and key together.
pub(super) fn tls(context: &Context, map: &Map<'_>) -> Tls {
    let section = map.section("tls", Section::Tls);
    let tls = Tls {
        ca_file: section.path("ca_file"),
        cert_file: section.path("cert_file"),
        key_file: section.path("key_file"),
    };
    let files = [
        ("ca_file", &tls.ca_file),
        ("cert_file", &tls.cert_file),
        ("key_file", &tls.key_file),
    ];
    for (name, path) in files {
        let (Some(path), Some(node)) = (path, section.get(name)) else {
            continue;
        };
        match readable(path) {
            Err(problem) => context.error(&node.place, format!("{name}: {problem}")),
            Ok(()) if name == "key_file" => context.warn_if_readable(name, &node.place, path),
            Ok(()) => {}
        }
    }
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        context.error(
            &section.place,
            "cert_file and key_file belong together: one is missing",
        );
    }
    tls
}
