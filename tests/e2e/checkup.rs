//! `check --online`: what it asks, and what it says of everything that can be wrong at a vendor or on the
//! way there. `tests/data/check/online.txt` has the page of each case.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{World, credentials, faults::Fault};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{command, world};

const PAGES: &str = "tests/data/check/online.txt";
/// In every secret that is wrong.
const CANARY: &str = "CANARY-7f3b";

/// A vendor's simulator.
#[derive(Clone, Copy)]
enum At {
    Infobip = 0,
    Engagelab = 1,
    Pushwoosh = 2,
    Alibaba = 3,
}

impl At {
    /// Of a type of account.
    fn of(kind: &str) -> At {
        match kind {
            "infobip_push" | "infobip_email" => At::Infobip,
            "engagelab" => At::Engagelab,
            "pushwoosh" => At::Pushwoosh,
            _ => At::Alibaba,
        }
    }
}

/// An account, and what goes wrong with it.
struct Case {
    name: &'static str,
    account: Value,
    fault: Option<(At, &'static str, Fault)>,
    /// What is said, besides the page in the file.
    says: &'static [&'static str],
}

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer {
        status,
        headers: Vec::new(),
        // A vendor that repeats the credentials.
        body: body.replace("SECRET", CANARY),
    }
}

/// An account of a type, with other keys than it would have.
fn account(kind: &str, base_url: &str, others: Value) -> Value {
    let password = json!({"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD});
    let mut account = match kind {
        "infobip_push" => json!({"credentials": password,
            "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
            "messages": {"static": ["3813836816344707101"]}}),
        "infobip_email" => json!({"credentials": password}),
        "engagelab" => json!({
            "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
            "messages": {"static": ["1613113584"]}}),
        "pushwoosh" => json!({"credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
            "applications": [{"id": credentials::PUSHWOOSH_APPLICATIONS[0], "name": "loyalty"}],
            "collect": ["messages", "bounces", "log"]}),
        _ => {
            json!({"credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET},
            "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "cn"}]})
        }
    };
    account["name"] = json!("own");
    account["type"] = json!(kind);
    account["base_url"] = json!(base_url);
    account["timeout"] = json!("2s");
    for (key, value) in others.as_object().into_iter().flatten() {
        account[key] = value.clone();
    }
    account
}

/// What `check --online` says of some accounts: its exit status and its page.
async fn check(directory: &Path, accounts: &[Value]) -> (Option<i32>, String) {
    let config = json!({"store": world::store(directory), "providers": accounts});
    fs::write(directory.join("config.yaml"), config.to_string()).unwrap();
    let path = directory.to_owned();
    let run = move || command::run(&["check", "--online"], &path);
    let (status, page, problems) = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(
        !format!("{page}{problems}").contains(CANARY),
        "{page}{problems}"
    );
    let page = page
        .rsplit_once("\n\n")
        .map_or(problems, |(_, page)| page.to_owned());
    (status, page)
}

/// A page without what differs from run to run.
fn steady(page: &str, world: &World) -> String {
    let mut page = page.to_owned();
    for server in &world.servers {
        page = page.replace(&server.address().to_string(), "127.0.0.1:1");
    }
    page
}

fn cases(world: &World) -> Vec<Case> {
    let urls: Vec<String> = world
        .servers
        .iter()
        .map(|server| server.base_url())
        .collect();
    let case = |name, kind: &str, others: Value| Case {
        name,
        account: account(kind, &urls[At::of(kind) as usize], others),
        fault: None,
        says: &[],
    };
    let says = |case: Case, says: &'static [&'static str]| Case { says, ..case };
    let faulty = |name, kind: &str, path: &'static str, fault: Fault, told| Case {
        fault: Some((At::of(kind), path, fault)),
        says: told,
        ..case(name, kind, json!({}))
    };
    let infobip = |status, id: &str, text: &str| {
        let exception = json!({"messageId": id, "text": text});
        answer(
            status,
            &json!({"requestError": {"serviceException": exception}}).to_string(),
        )
    };
    let engagelab = |status, code: u32| {
        answer(
            status,
            &json!({"error": {"code": code, "message": "as documented"}}).to_string(),
        )
    };
    let pushwoosh = |status, code: u32| {
        answer(
            status,
            &json!({"code": code, "message": "as documented", "details": []}).to_string(),
        )
    };
    let alibaba = |status, code: &str| {
        answer(
            status,
            &json!({"RequestId": "8906582E", "Code": code, "Message": "as documented"}).to_string(),
        )
    };
    let key = |name: &str| json!({"credentials": {name: CANARY}});
    let push = "/push/1/statistics";
    vec![
        case("well: infobip_push", "infobip_push", json!({})),
        case("well: infobip_email", "infobip_email", json!({})),
        case("well: engagelab", "engagelab", json!({})),
        case("well: pushwoosh", "pushwoosh", json!({})),
        case("well: alibaba_push", "alibaba_push", json!({})),
        case(
            "well: alibaba_push, the older signature",
            "alibaba_push",
            json!({"credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET, "signature": "v1"}}),
        ),
        case(
            "no message is named",
            "infobip_push",
            json!({"messages": {}}),
        ),
        says(
            case(
                "wrong password",
                "infobip_push",
                json!({"credentials": {"username": "u", "password": CANARY}}),
            ),
            &[
                "Infobip refuses the credentials",
                "Developer tools > API keys",
            ],
        ),
        says(
            case("wrong key", "infobip_push", key("api_key")),
            &["expired, was revoked"],
        ),
        says(
            case("wrong token", "infobip_email", key("token")),
            &["lasts about an hour"],
        ),
        faulty(
            "no right",
            "infobip_push",
            push,
            infobip(403, "UNAUTHORIZED", "Unauthorized access"),
            &["lack the right (scope) to read push statistics"],
        ),
        faulty(
            "no right to logs",
            "infobip_email",
            "/email/1/logs",
            infobip(403, "FORBIDDEN", "Forbidden"),
            &["cannot be tried without taking some"],
        ),
        says(
            case(
                "unknown application",
                "infobip_push",
                json!({"applications": [{"id": "unknown"}]}),
            ),
            &["Infobip does not know bulk 3813836816344707101 in this application"],
        ),
        faulty(
            "rate limit",
            "infobip_push",
            push,
            answer(
                429,
                r#"{"errorCode":"E429","description":"Too many requests sent.","action":"","violations":[],"resources":[]}"#,
            ),
            &["refuses more requests", "lower rate_limit (now 5 a second)"],
        ),
        faulty(
            "trouble",
            "infobip_push",
            push,
            infobip(
                500,
                "GENERAL_ERROR",
                "Something went wrong. Please contact support.",
            ),
            &["has trouble of its own"],
        ),
        faulty(
            "a page",
            "infobip_push",
            push,
            answer(200, "<html>Log in, SECRET</html>"),
            &["login page"],
        ),
        faulty(
            "the key in an error",
            "infobip_push",
            push,
            infobip(400, "ODD", "SECRET is odd"),
            &[],
        ),
        faulty(
            "a redirect",
            "infobip_push",
            push,
            Fault::Answer {
                status: 302,
                headers: vec![("Location".into(), "https://example.com".into())],
                body: String::new(),
            },
            &["sends elsewhere"],
        ),
        faulty(
            "no answer",
            "infobip_push",
            push,
            Fault::Hang,
            &["does not answer", "proxy_url"],
        ),
        says(
            case(
                "wrong secret",
                "engagelab",
                json!({"credentials": {"app_key": "k", "master_secret": CANARY}}),
            ),
            &[
                "refuses AppKey and Master Secret",
                "Service Endpoint",
                "Frankfurt: https://pushapi-defra.engagelab.com",
            ],
        ),
        faulty(
            "key and secret do not match",
            "engagelab",
            "/v4/status/users",
            engagelab(401, 21004),
            &["App Information"],
        ),
        faulty(
            "malformed key",
            "engagelab",
            "/v4/status/users",
            engagelab(400, 21008),
            &["the AppKey is malformed"],
        ),
        faulty(
            "plan",
            "engagelab",
            "/v4/status/users",
            engagelab(401, 21038),
            &["plan has expired", "not at fault"],
        ),
        faulty(
            "IP list",
            "engagelab",
            "/v4/status/users",
            engagelab(400, 23009),
            &["IP Whitelist"],
        ),
        faulty(
            "rate limit by code",
            "engagelab",
            "/v4/status/users",
            engagelab(400, 23008),
            &["500 requests a second"],
        ),
        faulty(
            "wrong address",
            "engagelab",
            "/v4/status/users",
            engagelab(404, 21001),
            &["check base_url"],
        ),
        faulty(
            "trouble",
            "engagelab",
            "/v4/status/users",
            engagelab(500, 23100),
            &["trouble of its own"],
        ),
        says(
            case(
                "unknown message",
                "engagelab",
                json!({"messages": {"static": ["99"]}}),
            ),
            &[
                "does not know this message in the application",
                "of one application",
            ],
        ),
        says(
            case("wrong token", "pushwoosh", key("api_token")),
            &["type Server, not Device", "Settings > API Access"],
        ),
        faulty(
            "no access",
            "pushwoosh",
            "/api/v2/messages:list",
            pushwoosh(403, 7),
            &["may not read messages of application loyalty"],
        ),
        faulty(
            "plan",
            "pushwoosh",
            "/api/v2/statistics/getMessageLog",
            pushwoosh(403, 7),
            &["Custom Plan", "take log out of collect"],
        ),
        faulty(
            "unknown application",
            "pushwoosh",
            "/api/v2/messages:list",
            answer(400, r#"{"error":"application not found"}"#),
            &["does not know application loyalty"],
        ),
        faulty(
            "an error with 200",
            "pushwoosh",
            "/api/v2/messages:list",
            answer(
                200,
                r#"{"status_code":210,"status_message":"Argument error","response":null}"#,
            ),
            &[],
        ),
        faulty(
            "rate limit",
            "pushwoosh",
            "/api/v2/messages:list",
            pushwoosh(429, 8),
            &["refuses more requests"],
        ),
        says(
            case(
                "wrong secret",
                "alibaba_push",
                json!({"credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": CANARY}}),
            ),
            &["access_key_secret is not the secret of access_key_id"],
        ),
        says(
            case(
                "wrong id",
                "alibaba_push",
                json!({"credentials": {"access_key_id": CANARY, "access_key_secret": CANARY}}),
            ),
            &["access_key_id does not exist"],
        ),
        says(
            case(
                "unknown application",
                "alibaba_push",
                json!({"applications": [{"id": "4711"}]}),
            ),
            &[
                "AppKey 4711 is not one of this Alibaba Cloud account",
                "help: there are 23267207 (shop)",
            ],
        ),
        faulty(
            "no right",
            "alibaba_push",
            "/",
            alibaba(403, "Forbidden.RAM"),
            &["lacks the permission mpush:QueryPushStatByMsg"],
        ),
        faulty(
            "temporary credentials",
            "alibaba_push",
            "/",
            alibaba(400, "MissingSecurityToken"),
            &["AssumeRole"],
        ),
        faulty(
            "disabled",
            "alibaba_push",
            "/",
            alibaba(400, "AccountDisabled"),
            &["overdue payments"],
        ),
        faulty(
            "rate limit",
            "alibaba_push",
            "/",
            alibaba(400, "Throttling.User"),
            &["50 a second"],
        ),
        faulty(
            "wrong address",
            "alibaba_push",
            "/",
            alibaba(404, "InvalidApi.NotFound"),
            &["cloudpush.aliyuncs.com is right"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_can_be_wrong_is_said_in_words_with_a_remedy_and_without_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    let mut pages = String::new();
    for case in cases(&world) {
        let fault = case.fault;
        if let Some((at, path, fault)) = fault {
            world.servers[at as usize].faults().add(path, fault, None);
        }
        let (status, page) = check(directory.path(), &[case.account]).await;
        for server in &world.servers {
            server.faults().clear();
        }
        let page = steady(&page, &world);
        let is_wrong = page.contains("  error  ");
        assert_eq!(status, Some(i32::from(is_wrong)), "{}: {page}", case.name);
        for text in case.says {
            assert!(page.contains(text), "{}: {page}", case.name);
        }
        // A code of HTTP or of the vendor stands behind words, and each error says what helps.
        let errors = page.matches("  error  ").count() + page.matches("  warning  ").count();
        assert_eq!(
            page.matches("help: ").count(),
            errors,
            "{}: {page}",
            case.name
        );
        pages += &format!("# {}\n{page}\n", case.name);
    }
    // Nothing that is handed out once was asked for.
    let received = world.servers.iter().flat_map(|server| server.received());
    let paths: BTreeSet<_> = received.map(|own| own.uri.path().to_owned()).collect();
    assert!(!paths.contains("/email/1/reports"), "{paths:?}");
    assert_eq!(world.infobip.handed_out().len(), 0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGES);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &pages).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == pages,
        "{PAGES} is not current; UPDATE_GOLDEN=1 writes it\n{pages}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_is_asked_few_questions_and_all_are_well_or_not_each_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    let config = world::configuration(&world, directory.path(), &json!({}));
    let config: Value = serde_json::from_str(&config).unwrap();
    let mut accounts = config["providers"].as_array().unwrap().clone();
    let (status, page) = check(directory.path(), &accounts).await;
    assert_eq!(status, Some(0), "{page}");
    for account in ["push: ", "mail: ", "news: ", "loyalty: ", "china: "] {
        assert!(page.contains(account), "{page}");
    }
    let asked: usize = world
        .servers
        .iter()
        .map(|server| server.received().len())
        .sum();
    // Push, mail, users and a message, two data sets of two applications, statistics and list.
    assert_eq!(asked, 1 + 1 + 2 + 4 + 2, "{page}");
    accounts[2]["credentials"]["master_secret"] = json!(CANARY);
    let (status, page) = check(directory.path(), &accounts).await;
    assert_eq!(status, Some(1), "{page}");
    assert_eq!(page.matches("  error  ").count(), 1, "{page}");
    assert!(page.matches("  ok  ").count() >= 7, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_on_the_way_is_told_from_what_the_vendor_says() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    let infobip = world.servers[0].base_url();
    // A proxy that wants a password, as for plain requests.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("http://user:{CANARY}@{}", proxy.local_addr().unwrap());
    let _proxy = tokio::spawn(async move {
        while let Ok((mut stream, _)) = proxy.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let tls = infobip.replace("http://", "https://");
    for (base_url, others, says) in [
        (
            "https://nowhere.invalid",
            json!({}),
            &[
                "the name nowhere.invalid has no address",
                "getent hosts nowhere.invalid",
            ][..],
        ),
        (
            "http://127.0.0.1:1",
            json!({}),
            &["127.0.0.1:1 cannot be reached"],
        ),
        (
            tls.as_str(),
            json!({}),
            &["the TLS connection to 127.0.0.1", "tls.ca_file"],
        ),
        (
            infobip.as_str(),
            json!({"proxy_url": "http://127.0.0.1:1"}),
            &["through the proxy 127.0.0.1:1", "proxy_url"],
        ),
        (
            infobip.as_str(),
            json!({"proxy_url": "http://nowhere.invalid:3128"}),
            &["the name of the proxy nowhere.invalid:3128 has no address"],
        ),
        (
            infobip.as_str(),
            json!({"proxy_url": proxy_url}),
            &["wants a user and a password"],
        ),
        (
            "https://example.invalid",
            json!({"proxy_url": proxy_url}),
            &["wants a user and a password"],
        ),
    ] {
        let own = account("infobip_push", base_url, others);
        let (status, page) = check(directory.path(), &[own]).await;
        assert_eq!(status, Some(1), "{page}");
        for text in says {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert_eq!(page.matches("help: ").count(), 1, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_differs_from_the_vendors_is_a_warning_and_then_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for (ahead, status, says) in [
        (30, 0, None),
        (90, 0, Some("  warning  clock: this machine is ")),
        (-3600, 1, Some("s ahead of the vendor")),
        (3600, 1, Some("s behind the vendor")),
    ] {
        let vendors = Timestamp::now() + Duration::from_secs(86_400);
        let vendors =
            vendors - Duration::from_secs(86_400) + jiff::SignedDuration::from_secs(ahead);
        let (clock, _hand) = Clock::manual(vendors);
        let world = world::start(&clock).await;
        let [infobip, _, _, alibaba] = &world.servers;
        let push = account("infobip_push", &infobip.base_url(), json!({}));
        let (found, page) = check(directory.path(), &[push]).await;
        assert_eq!(found, Some(status), "{page}");
        assert_eq!(page.contains("clock: "), says.is_some(), "{page}");
        assert!(page.contains(says.unwrap_or("")), "{page}");
        if status == 1 {
            let own = account("alibaba_push", &alibaba.base_url(), json!({}));
            let (_, page) = check(directory.path(), &[own]).await;
            assert!(page.contains("the signature is refused for it"), "{page}");
        }
    }
}
