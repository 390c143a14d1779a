//! `tls_server_config`.

use super::{
    super::{read::Context, tree::Node},
    ClientAuth, Pem, WebTls, is_empty, map, texts, truth, word,
};
use crate::secret::Secret;

const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    // The older name of the same.
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];

/// The cipher suites that the toolkit knows. Those with CBC are not spoken here.
const CIPHER_SUITES: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];
/// One of these has to be chosen with HTTP/2 over TLS 1.2 (RFC 7540, 9.2.2).
const OF_HTTP2: [&str; 2] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
];
/// The groups of key exchange, as Go calls them.
const CURVES: [&str; 4] = ["CurveP256", "CurveP384", "CurveP521", "X25519"];

/// `tls_server_config`; `None`: it switches nothing on, or is wrong.
pub(super) fn tls(context: &Context, node: &Node, http2: bool) -> Option<WebTls> {
    let keys = [
        "cert_file",
        "key_file",
        "cert",
        "key",
        "client_ca_file",
        "client_ca",
        "client_auth_type",
        "client_allowed_sans",
        "min_version",
        "max_version",
        "cipher_suites",
        "curve_preferences",
        "prefer_server_cipher_suites",
    ];
    map(context, "tls_server_config", node, &keys);
    let certificate = pem(context, node, "cert", "cert_file");
    let key = pem(context, node, "key", "key_file");
    let client_ca = pem(context, node, "client_ca", "client_ca_file");
    let has_policy = node
        .get("client_auth_type")
        .is_some_and(|own| !is_empty(own));
    let is_on = certificate.is_some() || key.is_some() || client_ca.is_some() || has_policy;
    for (there, name) in [(&certificate, "cert_file"), (&key, "key_file")] {
        if !is_on {
            continue;
        }
        if there.is_none() {
            context.error(&node.place, format!("tls_server_config needs {name}"));
        }
    }
    let client_auth = if has_policy {
        word(context, node, "client_auth_type", &CLIENT_AUTH)
    } else {
        None
    };
    let client_auth = client_auth.unwrap_or_default();
    let allowed_sans = node
        .get("client_allowed_sans")
        .map(|_| texts(context, node, "client_allowed_sans", &[]));
    for (there, name) in [
        (client_ca.is_some(), "client_ca_file"),
        (allowed_sans.is_some(), "client_allowed_sans"),
    ] {
        if there && client_auth == ClientAuth::None {
            let text = format!(
                "{name} needs a client_auth_type: without one no client is asked for a certificate"
            );
            context.error(&node.place, text);
        }
    }
    // The oldest two are not spoken here: whoever allows them allows the next one too.
    let versions = [("TLS10", 10), ("TLS11", 11), ("TLS12", 12), ("TLS13", 13)];
    let least = word(context, node, "min_version", &versions).unwrap_or(12);
    let most = word(context, node, "max_version", &versions).unwrap_or(13);
    if least > most {
        context.error(&node.place, "min_version is above max_version");
    } else if most < 12 {
        context.error(
            &node.place,
            "max_version: TLS 1.2 is the oldest that is spoken here",
        );
    }
    let cipher_suites = texts(context, node, "cipher_suites", &CIPHER_SUITES);
    let has_suite_of_http2 = cipher_suites
        .iter()
        .any(|own| OF_HTTP2.contains(&own.as_ref()));
    if http2 && least < 13 && !cipher_suites.is_empty() && !has_suite_of_http2 {
        let text = format!(
            "cipher_suites: HTTP/2 needs {}; add the one of your certificate, or set http2: false under http_server_config",
            OF_HTTP2.join(" or ")
        );
        context.error(&node.place, text);
    }
    // A server's preference is always kept.
    truth(context, node, "prefer_server_cipher_suites", true);
    Some(WebTls {
        certificate: certificate?,
        key: key?,
        client_auth,
        client_ca,
        allowed_sans,
        tls12: least <= 12,
        tls13: most == 13,
        cipher_suites,
        curves: texts(context, node, "curve_preferences", &CURVES),
    })
}

fn pem(context: &Context, node: &Node, text: &str, file: &str) -> Option<Pem> {
    let of = |name: &str| {
        let own = node.get(name)?;
        if is_empty(own) {
            None
        } else {
            context.text(name, own)
        }
    };
    match (of(text), of(file)) {
        (Some(_), Some(_)) => {
            context.error(&node.place, format!("{text} and {file} exclude each other"));
            None
        }
        (Some(text), None) => Some(Pem::Text(Secret::new(text))),
        (None, Some(path)) => Some(Pem::File(context.path(path))),
        (None, None) => None,
    }
}
