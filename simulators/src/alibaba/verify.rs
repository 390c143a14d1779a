//! Verifies both signatures from what is on the wire: the named headers, the query as it decodes,
//! and the body's real hash.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{header, request::Parts};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::server::parameters;

/// A request whose signature is right.
#[derive(Debug)]
pub struct Signed {
    /// The operation.
    pub action: String,
    /// When it was signed.
    pub time: String,
    /// What must not come twice.
    pub nonce: String,
    /// The token of temporary credentials.
    pub security_token: Option<String>,
    /// Signed in headers, not in the query.
    pub version_3: bool,
    parameters: Vec<(String, String)>,
}

impl Signed {
    /// A parameter of the operation.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(own, _)| own == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// A request that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The vendor's code.
    pub code: String,
    /// The vendor's text.
    pub message: String,
}

impl Refused {
    pub(super) fn new(status: u16, code: &str, message: &str) -> Refused {
        Refused {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }
}

fn mismatch(to_sign: &str) -> Refused {
    let text = "Specified signature is not matched with our calculation. server string to sign is:";
    Refused::new(400, "SignatureDoesNotMatch", &format!("{text}{to_sign}"))
}

fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    encoded.collect()
}

fn canonical(mut parameters: Vec<(String, String)>) -> String {
    parameters.sort();
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac<M: Mac + KeyInit>(key: &str, text: &str) -> Vec<u8> {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.as_bytes()) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Verifies a request for the account with this key.
pub(super) fn verify(
    parts: &Parts,
    body: &[u8],
    id: &str,
    secret: &str,
) -> Result<Signed, Refused> {
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let query = parameters(parts.uri.query().unwrap_or_default());
    let is_form = text("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let form = if is_form {
        parameters(&String::from_utf8_lossy(body))
    } else {
        Vec::new()
    };
    match text("authorization") {
        Some(authorization) => version_3(parts, body, &authorization, id, secret, query, form),
        None => version_1(parts, id, secret, [query, form].concat()),
    }
}

fn version_3(
    parts: &Parts,
    body: &[u8],
    authorization: &str,
    id: &str,
    secret: &str,
    query: Vec<(String, String)>,
    form: Vec<(String, String)>,
) -> Result<Signed, Refused> {
    let incomplete = || {
        Refused::new(
            400,
            "IncompleteSignature",
            "The request signature does not conform to standards.",
        )
    };
    let fields = authorization
        .strip_prefix("ACS3-HMAC-SHA256 ")
        .ok_or_else(incomplete)?;
    let field = |name: &str| {
        let mut parts = fields.split(',').map(str::trim);
        parts
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(incomplete)
    };
    let (credential, names, signature) = (
        field("Credential")?,
        field("SignedHeaders")?,
        field("Signature")?,
    );
    if credential != id {
        let text = "Specified access key is not found.";
        return Err(Refused::new(400, "InvalidAccessKeyId.NotFound", text));
    }
    let signed: Vec<_> = names.split(';').collect();
    let header = |name: &str| -> String {
        // Over HTTP/2 the host is in the URL.
        let authority = parts.uri.authority().map(ToString::to_string);
        let values = parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut values: Vec<_> = values.map(|value| value.trim().to_owned()).collect();
        values.sort();
        match (name, values.is_empty()) {
            ("host", true) => authority.unwrap_or_default(),
            _ => values.join(","),
        }
    };
    let needed = parts
        .headers
        .keys()
        .map(header::HeaderName::as_str)
        .filter(|name| *name == "host" || *name == "content-type" || name.starts_with("x-acs-"));
    let hash = hex(&Sha256::digest(body));
    let lines: String = {
        let mut sorted = signed.clone();
        sorted.sort_unstable();
        sorted
            .iter()
            .map(|name| format!("{name}:{}\n", header(name)))
            .collect()
    };
    let request = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{hash}",
        parts.method,
        parts.uri.path(),
        canonical(query.clone())
    );
    let to_sign = format!(
        "ACS3-HMAC-SHA256\n{}",
        hex(&Sha256::digest(request.as_bytes()))
    );
    let all_signed =
        needed.into_iter().all(|name| signed.contains(&name)) && signed.contains(&"host");
    let right = hex(&mac::<Hmac<Sha256>>(secret, &to_sign)) == signature;
    if !all_signed || !right || header("x-acs-content-sha256") != hash {
        return Err(mismatch(&to_sign));
    }
    let token = header("x-acs-security-token");
    Ok(Signed {
        action: header("x-acs-action"),
        time: header("x-acs-date"),
        nonce: header("x-acs-signature-nonce"),
        security_token: (!token.is_empty()).then_some(token),
        version_3: true,
        parameters: [query, form].concat(),
    })
}

fn version_1(
    parts: &Parts,
    id: &str,
    secret: &str,
    parameters: Vec<(String, String)>,
) -> Result<Signed, Refused> {
    let get = |name: &str| {
        let found = parameters.iter().find(|(own, _)| own == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    let needed = |name: &str| {
        let missing = || {
            let text = format!("{name} is mandatory for this action.");
            Refused::new(400, &format!("Missing{name}"), &text)
        };
        get(name).ok_or_else(missing)
    };
    let signature = needed("Signature")?;
    if needed("AccessKeyId")? != id {
        let text = "Specified access key is not found.";
        return Err(Refused::new(400, "InvalidAccessKeyId.NotFound", text));
    }
    let signed: Vec<_> = parameters
        .iter()
        .filter(|(name, _)| name != "Signature")
        .cloned()
        .collect();
    let to_sign = format!("{}&%2F&{}", parts.method, encode(&canonical(signed)));
    let right = STANDARD.encode(mac::<Hmac<Sha1>>(&format!("{secret}&"), &to_sign));
    if right != signature {
        return Err(mismatch(&to_sign));
    }
    Ok(Signed {
        action: needed("Action")?,
        time: needed("Timestamp")?,
        nonce: needed("SignatureNonce")?,
        security_token: get("SecurityToken"),
        version_3: false,
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const NONCE: &str = "3156853299f313e23d1673dc12e1703d";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn request(signature: &str, query: &str) -> Parts {
        let names =
            "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version";
        let authorization = format!(
            "ACS3-HMAC-SHA256 Credential=testid,SignedHeaders={names},Signature={signature}"
        );
        let request = Request::post(format!("/?{query}"))
            .header("host", "cloudpush.aliyuncs.com")
            .header("x-acs-action", "QueryPushStatByMsg")
            .header("x-acs-content-sha256", EMPTY)
            .header("x-acs-date", "2026-11-23T08:00:00Z")
            .header("x-acs-signature-nonce", NONCE)
            .header("x-acs-version", "2016-08-01")
            .header("authorization", authorization);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn version_3_takes_the_vendors_signature_and_no_other() {
        let right = "aaf22c0380496d9f0d5504c4a09dcce8ca1f0903a62281ac9c10605929865bc8";
        let query = "AppKey=23267207&MessageId=510427";
        let verified = verify(&request(right, query), b"", "testid", "testsecret").unwrap();
        assert_eq!(verified.parameter("MessageId"), Some("510427"));
        // The order on the wire does not matter, the values do.
        let turned = "MessageId=510427&AppKey=23267207";
        assert!(verify(&request(right, turned), b"", "testid", "testsecret").is_ok());
        let other = request(right, "AppKey=23267207&MessageId=510428");
        let refused = verify(&other, b"", "testid", "testsecret").unwrap_err();
        assert_eq!(refused.code, "SignatureDoesNotMatch");
        assert!(verify(&request(right, query), b"body", "testid", "testsecret").is_err());
        let refused = verify(&request(right, query), b"", "other", "testsecret").unwrap_err();
        assert_eq!(refused.code, "InvalidAccessKeyId.NotFound");
        let mut unsigned = request(right, query);
        unsigned
            .headers
            .insert("x-acs-new", http::HeaderValue::from_static("1"));
        assert!(verify(&unsigned, b"", "testid", "testsecret").is_err());
    }

    #[test]
    fn version_1_takes_the_vendors_signature_and_no_other() {
        let query = |id: &str| {
            format!(
                "AccessKeyId=testid&Action=QueryPushStatByMsg&AppKey=23267207&Format=json&MessageId={id}&SignatureMethod=HMAC-SHA1&SignatureNonce={NONCE}&SignatureVersion=1.0&Timestamp=2026-11-23T08%3A00%3A00Z&Version=2016-08-01&Signature=P7B%2BZL3VX4toA1%2F6%2F4cS%2F%2B%2Bv32o%3D"
            )
        };
        let parts = |id| {
            Request::post(format!("/?{}", query(id)))
                .body(())
                .unwrap()
                .into_parts()
                .0
        };
        let verified = verify(&parts("510427"), b"", "testid", "testsecret").unwrap();
        assert_eq!(
            (verified.action.as_str(), verified.version_3),
            ("QueryPushStatByMsg", false)
        );
        assert!(verify(&parts("510428"), b"", "testid", "testsecret").is_err());
    }
}
