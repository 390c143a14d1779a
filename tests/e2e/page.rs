//! The status page in a real Chromium: what it says is what the simulators have, healthy and in
//! trouble; nobody is shut out, nothing comes from elsewhere, and no secret is shown.

mod past;
mod views;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    time::Duration,
};

use delivery_clock::Clock;
use delivery_simulators::{World, credentials};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    crash,
    harness::{Exporter, client, eventually},
    world,
};
use views::{accept, browser, found, look, number, strings};

/// A password that no vendor takes.
const WRONG_PASSWORD: &str = "a-password-that-was-revoked";

/// An exporter whose accounts have answered, with eight days behind it.
async fn start(
    directory: &Path,
    incident: Option<f64>,
    change: impl FnOnce(&mut Value),
) -> (World, Exporter) {
    past::write(
        &directory.join("spool"),
        Timestamp::now(),
        &past::courses(incident),
    );
    let world = world::start(&Clock::system()).await;
    world.infobip.put_reports(crash::reports(0, 1200));
    let more = json!({"collection": {"zero_hold": "0s", "interval": "1s", "max_interval": "1s"}});
    let config = world::configuration(&world, directory, &more);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    change(&mut config);
    // A line for each account, as people write it.
    let config = serde_json::to_string_pretty(&config).unwrap();
    fs::write(directory.join("config.yaml"), config).unwrap();
    let flags = ["--config.file=config.yaml", "--web.enable-lifecycle"].map(str::to_owned);
    let exporter = Exporter::spawn(directory, &flags).await;
    exporter
        .wait_for("every vendor but one has answered", |metrics| {
            metrics.sum("delivery_up", &[]) >= 4.0
                && metrics.sum("delivery_delivered_total", &[("account", "mail")]) >= 1200.0
                && metrics.sum("delivery_message_sent", &[("account", "loyalty")]) > 60_000.0
        })
        .await;
    (world, exporter)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_healthy_day_the_status_page_says_so_to_everyone() {
    let directory = tempfile::tempdir().unwrap();
    let (_world, exporter) = start(directory.path(), None, |_| {}).await;
    exporter
        .wait_for("every vendor has answered", |metrics| {
            metrics.sum("delivery_up", &[]) == 5.0
        })
        .await;
    // What was counted is observed within two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let views = look(&exporter, "status");
    let page = &views["desktop-light"];
    assert_eq!(page["verdict"], "All accounts answer and deliver as usual");
    assert_eq!(page["title"], "delivery-exporter");
    let accounts = page["accounts"].as_object().unwrap();
    let names: Vec<_> = accounts.keys().map(String::as_str).collect();
    assert_eq!(names, ["china", "loyalty", "mail", "news", "push"]);
    for (name, own) in accounts {
        assert_eq!(own["health"], "fine", "{own}");
        assert_eq!(
            [&own["reasons"], &own["pending"]],
            [&json!([]), &json!([])],
            "{own}"
        );
        assert!(
            own["facts"]["Last success"]
                .as_str()
                .unwrap()
                .contains(" ago"),
            "{own}"
        );
        // The place is where the account stands in the file.
        let (file, line) = own["place"].as_str().unwrap().rsplit_once(':').unwrap();
        let text = fs::read_to_string(directory.path().join(file)).unwrap();
        let lines: Vec<_> = text
            .lines()
            .skip(line.parse::<usize>().unwrap() - 1)
            .collect();
        let entry = lines[..lines
            .iter()
            .position(|own| own.starts_with("    }"))
            .unwrap()]
            .concat();
        assert!(
            entry.contains(&format!("\"name\": \"{name}\"")),
            "{name}: {entry}"
        );
        let chart = own["charts"][0].as_str().unwrap();
        assert!(
            chart.contains("last 24 hours") && chart.contains("usual now"),
            "{chart}"
        );
        assert!(own["bands"].as_u64().unwrap() >= 1, "{own}");
    }
    // Sums of a day, and what the vendors have said since the start on top.
    let sums = accounts["mail"]["facts"]["Reported on last 24 h"]
        .as_str()
        .unwrap();
    let (sent, delivered) = sums.split_once(", ").unwrap();
    assert!(
        number(sent) > 100_000.0 && number(delivered) < number(sent),
        "{sums}"
    );
    // A message as the vendor has it, and EngageLab's channels.
    let push = accounts["push"]["tables"]["Newest messages of push"]
        .as_array()
        .unwrap();
    let bulk = push
        .iter()
        .find(|row| row[0] == "3813836816344707101")
        .unwrap();
    assert_eq!(
        strings(bulk)[4..],
        [
            "Sent 31\u{202f}569",
            "Delivered 29\u{202f}568",
            "93.7\u{202f}%"
        ]
    );
    let channels = accounts["news"]["tables"]["Channels of news"]
        .as_array()
        .unwrap();
    let channel = |name: &str| {
        let row = channels
            .iter()
            .find(|row| row[0].as_str().unwrap().starts_with(name));
        strings(row.unwrap_or_else(|| panic!("{name}: {channels:?}")))
    };
    assert!(channel("huawei").last().unwrap().ends_with("of usual"));
    // Nothing is 0 % without a word why.
    assert!(
        channel("apns")
            .last()
            .unwrap()
            .starts_with("no receipts: EngageLab learns")
    );
    let matrix = page["matrix"].as_array().unwrap();
    let of = |account: &str, channel: &str| {
        let column = matrix[0]
            .as_array()
            .unwrap()
            .iter()
            .position(|own| own[0] == channel);
        let row = matrix.iter().find(|row| row[0][0] == account).unwrap();
        let cell = &row[column.unwrap_or_else(|| panic!("{channel}: {}", matrix[0]))];
        (
            cell[0].as_str().unwrap().to_owned(),
            cell[1].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(of("news", "huawei").1, "good");
    assert_eq!(
        of("news", "apns"),
        ("apns no receipts".to_owned(), "none".to_owned())
    );
    assert_eq!(of("mail", "fcm").1, "nothing");
    // A restart costs nothing of the past.
    let exporter = restart(exporter, directory.path()).await;
    let (_, text) = exporter.get("/").await;
    assert!(text.contains("usual: same time of day on the last 7 days"));
    assert!(!text.contains("none yet"), "a success was forgotten");
}

/// The same exporter, stopped and started again.
async fn restart(exporter: Exporter, directory: &Path) -> Exporter {
    assert!(exporter.terminate().success());
    Exporter::spawn(directory, &["--config.file=config.yaml".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_trouble_the_status_page_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let change = |config: &mut Value| {
        config["providers"][0]["credentials"]["password"] = json!(WRONG_PASSWORD);
        config["providers"][3]["messages"]["http"] =
            json!([{"url": "http://reader:list-password@127.0.0.1:9/list"}]);
    };
    let (_world, exporter) = start(directory.path(), Some(0.15), change).await;
    // A configuration that is refused.
    let config = directory.path().join("config.yaml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        good.replacen("\"interval\": \"1s\"", "\"interval\": \"soon\"", 1),
    )
    .unwrap();
    assert_eq!(exporter.post("/-/reload").await.0, 500);
    eventually("the refusals are pending", async || {
        let page = exporter.get("/").await.1;
        (page.contains("DeliveryCredentialsRefused</strong>")
            && page.contains("DeliveryDiscoveryFailing</strong>"))
        .then_some(())
    })
    .await;
    let views = look(&exporter, "status-trouble");
    let page = &views["desktop-light"];
    assert_eq!(page["verdict"], "3 of 5 accounts in trouble");
    assert_eq!(page["title"], "3 in trouble · delivery-exporter");
    let accounts = page["accounts"].as_object().unwrap();
    let reason = |name: &str| accounts[name]["reasons"][0].as_str().unwrap();
    let push = reason("push");
    for part in [
        "Infobip refuses the credentials",
        "statistics of shop",
        "What to do: Make a new key",
        "credentials.username and credentials.password",
        "since ",
    ] {
        assert!(push.contains(part), "{part}: {push}");
    }
    assert_eq!(accounts["push"]["health"], "no answers");
    let pending = strings(&accounts["push"]["pending"]).join("\n");
    assert!(
        pending.contains("DeliveryCredentialsRefused (page; statistics, shop): fires at"),
        "{pending}"
    );
    let news = reason("news");
    for part in [
        "huawei",
        "Only huawei is low",
        "huawei: 15\u{202f}% of its usual",
        "DeliveryVendorChannelDropped",
    ] {
        assert!(news.contains(part), "{part}: {news}");
    }
    assert_eq!(accounts["news"]["health"], "below usual");
    assert!(
        reason("loyalty").contains("a list of messages cannot be read"),
        "{}",
        reason("loyalty")
    );
    assert_eq!(accounts["mail"]["health"], "fine");
    // Each runbook that is linked is there.
    for own in accounts.values() {
        for link in strings(&own["runbooks"]) {
            let path = link.strip_prefix(&exporter.base).unwrap();
            assert_eq!(exporter.get(path).await.0, 200, "{link}");
        }
    }
    let text = exporter.get("/").await.1;
    assert!(
        text.contains("The configuration reload at") && text.contains("interval"),
        "the reload"
    );
    for secret in [
        WRONG_PASSWORD,
        credentials::INFOBIP_PASSWORD,
        "list-password",
        "@example.com",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    operated(&found(browser(
        "operate",
        &format!("{}/", exporter.base),
        &[],
    )));
    goes_away(exporter).await;
}

/// What a reader does works with and without script.
fn operated(found: &Value) {
    for kind in ["script", "plain"] {
        let own = &found[kind];
        assert_eq!(
            strings(&own["trouble"]),
            ["push", "news", "loyalty"],
            "{kind}"
        );
        assert_eq!(
            strings(&own["all"])[..3],
            ["push", "news", "loyalty"],
            "{kind}"
        );
        assert_eq!(strings(&own["search"]), ["news", "loyalty"], "{kind}");
        assert!(
            own["address"].as_str().unwrap().contains("q=huawei"),
            "{kind}: {own}"
        );
        assert_eq!(own["typed"], "huawei", "{kind}");
        assert_eq!(
            strings(&own["sorted"]),
            ["china", "loyalty", "mail", "news", "push"],
            "{kind}"
        );
        assert!(
            own["nothing"]
                .as_str()
                .unwrap()
                .contains("“no-such-account”"),
            "{kind}: {own}"
        );
        assert_eq!(
            own["runbook"], "runbooks/DeliveryCredentialsRefused",
            "{kind}"
        );
    }
    // A refresh keeps the place, and what is open.
    let [before, after] = &found["script"]["place"].as_array().unwrap()[..] else {
        panic!("{found}");
    };
    assert_eq!(before, after);
    assert!(
        before[0].as_f64().unwrap() > 200.0 && before[1] == 1,
        "{before}"
    );
    // Without script, the page loads itself again if it is asked to, and stays at its place.
    for (way, part) in found["plain"]["loads"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["?refresh=5", "#account-china"])
    {
        let loads = strings(&way[0]);
        assert!(
            loads.len() >= 2 && loads.iter().all(|url| url.contains(part)),
            "{way}"
        );
        // A card may have grown by a line meanwhile.
        let moved = (way[1].as_f64().unwrap() - way[2].as_f64().unwrap()).abs();
        assert!(moved < 60.0, "{way}");
    }
}

/// A page that is left open says when the exporter is gone.
async fn goes_away(exporter: Exporter) {
    let mut open = browser("alone", &format!("{}/", exporter.base), &[]);
    let mut line = String::new();
    let mut errors = BufReader::new(open.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    exporter.kill();
    writeln!(open.stdin.take().unwrap(), "gone").unwrap();
    open.stderr = None;
    let found = found(open);
    assert_eq!(found["before"], false);
    assert!(
        found["after"]
            .as_str()
            .unwrap()
            .starts_with("The exporter does not answer"),
        "{found}"
    );
    assert_eq!(found["verdict"], "3 of 5 accounts in trouble");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runbooks_are_served_to_whom_the_page_is() {
    let directory = tempfile::tempdir().unwrap();
    let web = format!(
        "basic_auth_users:\n  reader: '{}'\n",
        bcrypt::hash("a-password", 4).unwrap()
    );
    fs::write(directory.path().join("web.yml"), web).unwrap();
    let config = json!({"store": world::store(directory.path()), "providers": []}).to_string();
    let exporter =
        Exporter::start_with(directory.path(), &config, &["--web.config.file=web.yml"]).await;
    for path in [
        "/",
        "/runbooks",
        "/runbooks/",
        "/runbooks/DeliveryRateDropped",
        "/runbooks/None",
    ] {
        assert_eq!(exporter.get(path).await.0, 401, "{path}");
    }
    let get = async |path: &str| {
        let request = client().get(format!("{}{path}", exporter.base));
        request
            .basic_auth("reader", Some("a-password"))
            .send()
            .await
            .unwrap()
    };
    for (path, status) in [
        ("/", 200),
        ("/runbooks", 200),
        ("/runbooks/", 200),
        ("/runbooks/DeliveryRateDropped", 200),
        ("/runbooks/DeliveryRateDropped.md", 200),
        ("/runbooks/None", 404),
        ("/runbooks/..%2f..%2fCargo.toml", 404),
        ("/runbooks/%3Cscript%3E", 404),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        let text = answer.text().await.unwrap();
        assert!(text.starts_with("<!doctype html>"), "{path}");
        assert!(
            !path.contains("script") || text.contains("&lt;script&gt;"),
            "{text}"
        );
    }
    let open =
        json!({"store": world::store(&directory.path().join("open")), "providers": []}).to_string();
    let other = directory.path().join("open");
    fs::create_dir(&other).unwrap();
    let exporter = Exporter::start(&other, &open).await;
    // Every runbook of the repository is in the index.
    let views = found(browser(
        "text",
        &format!("{}/runbooks/", exporter.base),
        &[],
    ));
    accept(&views);
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")).unwrap();
    let mut names: Vec<_> = files
        .map(|own| {
            own.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    names.sort();
    let links = strings(&views["desktop"]["links"]);
    assert_eq!(links.len(), names.len());
    for (link, name) in links.iter().zip(&names) {
        assert_eq!(*link, format!("{}/runbooks/{name}", exporter.base));
    }
    let views = found(browser(
        "text",
        &format!("{}/runbooks/{}", exporter.base, names[0]),
        &[],
    ));
    accept(&views);
    assert_eq!(views["phone"]["heading"], names[0].as_str());
}
