//! The vendor's two signatures. Pure, so that its published vectors can be tested.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::providers::encode::percent_encode;

/// The signature of ACS3-HMAC-SHA256: the signed headers' names, and the signature in hex.
/// `headers` have lower-case names; `query` is the very text that is sent.
pub(super) fn v3(
    secret: &str,
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
    payload_hash: &str,
) -> (String, String) {
    let mut headers = headers.to_vec();
    headers.sort_unstable();
    let names = headers
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!("{method}\n/\n{query}\n{lines}\n{names}\n{payload_hash}");
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256_hex(canonical.as_bytes()));
    (names, hex(&mac::<Hmac<Sha256>>(secret, &to_sign)))
}

/// The older signature, HMAC-SHA1 over the query, in base64. `query` is sorted and encoded, and
/// has everything but the signature.
pub(super) fn v1(secret: &str, method: &str, query: &str) -> String {
    let to_sign = format!("{method}&%2F&{}", percent_encode(query));
    STANDARD.encode(mac::<Hmac<Sha1>>(&format!("{secret}&"), &to_sign))
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac<M: Mac + KeyInit>(key: &str, text: &str) -> Vec<u8> {
    // A key of any length will do for HMAC.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.as_bytes()) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::encode::query;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const NONCE: &str = "3156853299f313e23d1673dc12e1703d";
    const KEYWORD: &str = "a b*~/+中";

    /// A V3 vector: the minimal headers and those in `more`.
    fn v3_of(method: &str, host: &str, action: &str, query: &str, more: &[(&str, &str)]) -> String {
        let mut headers = vec![
            ("host", host),
            ("x-acs-action", action),
            ("x-acs-content-sha256", EMPTY),
            ("x-acs-date", "2026-11-23T08:00:00Z"),
            ("x-acs-signature-nonce", NONCE),
            ("x-acs-version", "2016-08-01"),
        ];
        headers.extend_from_slice(more);
        v3("testsecret", method, query, &headers, EMPTY).1
    }

    #[test]
    fn version_3_gives_the_vendors_signatures() {
        let host = "cloudpush.aliyuncs.com";
        let stat = "AppKey=23267207&MessageId=510427";
        let action = "QueryPushStatByMsg";
        let records = "AppKey=23267207&EndTime=2026-11-23T00%3A00%3A00Z&Page=1&PageSize=100&StartTime=2026-11-22T00%3A00%3A00Z";
        let keyword = format!(
            "AppKey=23267207&EndTime=2026-11-23T00%3A00%3A00Z&{}&Page=1&PageSize=100&StartTime=2026-11-22T00%3A00%3A00Z",
            query([("Keyword", KEYWORD)])
        );
        let app = "AppKey=23267207&EndTime=2026-11-23T00%3A00%3A00Z&Granularity=DAY&StartTime=2026-11-20T00%3A00%3A00Z";
        let sts = [
            ("x-acs-accesskey-id", "testid"),
            ("x-acs-security-token", "teststs"),
        ];
        let library = [
            ("accept", "application/json"),
            ("user-agent", "delivery-exporter/test"),
            ("x-acs-credentials-provider", "static_ak"),
        ];
        for (signature, expected) in [
            (
                v3_of("POST", host, action, stat, &[]),
                "aaf22c0380496d9f0d5504c4a09dcce8ca1f0903a62281ac9c10605929865bc8",
            ),
            (
                v3_of("GET", host, action, stat, &[]),
                "566170b283a9bb901a2ad023e3af0c642700a55965c2caae4c4d5db67a95650d",
            ),
            (
                v3_of("POST", "127.0.0.1:18080", action, stat, &[]),
                "788ccc7a5a732958adf42d278714031e6a7ec9b95d3821e6d3b324137bee5c2c",
            ),
            (
                v3_of("POST", host, "QueryPushRecords", records, &[]),
                "470b4a6a86c4c9558bd8cd771330f87d07884d6e0b89a1eda162db4549c4108e",
            ),
            (
                v3_of("POST", host, "QueryPushRecords", &keyword, &[]),
                "bee393e06e57dc9f397662f0a830615e18e42e1a1d8ac5df3f4d3b086caadd5e",
            ),
            (
                v3_of("POST", host, action, stat, &sts),
                "7a087d9b55ffaac8ae6c34cc614b8f6222a2b18153e40208924d4e70228b70df",
            ),
            (
                v3_of("POST", host, action, stat, &library),
                "ab6624f39834559d484e7653ad47c921205321149cde4a2108d337be6c4aa008",
            ),
            (
                v3_of("POST", host, "QueryPushStatByApp", app, &[]),
                "fc22e0d962662c3cf21bfeb2479359a85bbb639ff475044787d1bb49e13e5faa",
            ),
        ] {
            assert_eq!(signature, expected);
        }
    }

    #[test]
    fn version_3_signs_a_body_and_the_documentations_example() {
        let body = b"AppKey=23267207&MessageId=510427";
        let hash = sha256_hex(body);
        assert_eq!(
            hash,
            "31952a27ee44f5291c48f66a955d8adb5cc9ed72d6eab26994a8cbbdf3535c5a"
        );
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "cloudpush.aliyuncs.com"),
            ("x-acs-action", "QueryPushStatByMsg"),
            ("x-acs-content-sha256", &hash),
            ("x-acs-date", "2026-11-23T08:00:00Z"),
            ("x-acs-signature-nonce", NONCE),
            ("x-acs-version", "2016-08-01"),
        ];
        let (_, signature) = v3("testsecret", "POST", "", &headers, &hash);
        assert_eq!(
            signature,
            "1f811bc9b20f426a5cb46a005b71124917c8f775d1a83f0ffb34e863e1bf1470"
        );
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-content-sha256", EMPTY),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", NONCE),
            ("x-acs-version", "2014-05-26"),
        ];
        let query =
            "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai";
        let (names, signature) = v3("YourAccessKeySecret", "POST", query, &headers, EMPTY);
        assert_eq!(
            signature,
            "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
        assert_eq!(
            names,
            "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
        );
    }

    /// A V1 vector: the smallest set of parameters with `more`, without those in `less`.
    fn v1_of(method: &str, action: &str, more: &[(&str, &str)], less: &[&str]) -> String {
        let mut parameters = vec![
            ("AccessKeyId", "testid"),
            ("Action", action),
            ("AppKey", "23267207"),
            ("Format", "json"),
            ("MessageId", "510427"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", NONCE),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2026-11-23T08:00:00Z"),
            ("Version", "2016-08-01"),
        ];
        parameters
            .retain(|(name, _)| !less.contains(name) && more.iter().all(|(own, _)| own != name));
        parameters.extend_from_slice(more);
        parameters.sort_unstable();
        v1("testsecret", method, &query(parameters))
    }

    #[test]
    fn version_1_gives_the_vendors_signatures() {
        let stat = "QueryPushStatByMsg";
        let records = "QueryPushRecords";
        let old = [
            ("Format", "JSON"),
            ("RegionId", "cn-hangzhou"),
            ("SignatureType", ""),
        ];
        let list = [
            ("StartTime", "2026-11-22T00:00:00Z"),
            ("EndTime", "2026-11-23T00:00:00Z"),
            ("Page", "1"),
            ("PageSize", "100"),
            ("Keyword", KEYWORD),
        ];
        let both = [&list[..], &old[..]].concat();
        for (signature, expected) in [
            (
                v1_of("POST", stat, &[], &[]),
                "P7B+ZL3VX4toA1/6/4cS/++v32o=",
            ),
            (
                v1_of("POST", stat, &old, &[]),
                "VvYKx2b3hbuXheVOZDAnLXzUbGA=",
            ),
            (
                v1_of("GET", stat, &old, &[]),
                "fWyBX1UIvUvdYQ39Pq/f4G1OW5c=",
            ),
            (
                v1_of("POST", records, &list, &["MessageId"]),
                "dHS9GIkN6d+hUDBtQBpDeUkM2aM=",
            ),
            (
                v1_of("POST", records, &both, &["MessageId"]),
                "UrLB2leAUM5KNDc0F2I5OpcX+Rc=",
            ),
            (
                v1_of("POST", stat, &[("SecurityToken", "teststs")], &[]),
                "4UfEp/VICS3RRM7zrx8zCyV8btg=",
            ),
        ] {
            assert_eq!(signature, expected);
        }
        let classic = query([
            ("AccessKeyId", "testid"),
            ("Action", "DescribeRegions"),
            ("Format", "XML"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("Version", "2014-05-26"),
        ]);
        assert_eq!(
            v1("testsecret", "GET", &classic),
            "OLeaidS1JvxuMvnyHOwuJ+uX5qY="
        );
    }
}
