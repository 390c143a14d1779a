//! The Helm chart and the plain manifests: what Helm renders, judged by Kubernetes' schemas and the Prometheus
//! operator's types, and run as a pod would run it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    command::run,
    harness::{Exporter, binary},
    rules::{root, succeeds},
};

/// What `chart.py` has rendered.
#[derive(Deserialize)]
struct Rendered {
    /// `Chart.yaml`.
    chart: Value,
    cases: BTreeMap<String, Case>,
}

/// The objects of one set of values, or of a plain manifest.
#[derive(Deserialize)]
struct Case {
    /// What Helm says at the end of an installation.
    notes: String,
    objects: Vec<Value>,
}

impl Case {
    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.objects
            .iter()
            .filter(|object| object["kind"] == kind)
            .collect()
    }

    fn only(&self, kind: &str) -> &Value {
        let found = self.of_kind(kind);
        assert_eq!(found.len(), 1, "{kind}");
        found[0]
    }

    /// The exporter's container.
    fn container(&self) -> &Value {
        let containers = &self.only("StatefulSet")["spec"]["template"]["spec"]["containers"];
        &containers[0]
    }

    fn arguments(&self) -> Vec<&str> {
        let arguments = self.container()["args"].as_array().unwrap();
        arguments.iter().map(|own| own.as_str().unwrap()).collect()
    }

    /// The data of a Secret of the chart, by name and key.
    fn secret(&self, name: &str, key: &str) -> &str {
        let mut found = self.of_kind("Secret");
        found.retain(|secret| secret["metadata"]["name"] == name);
        assert_eq!(found.len(), 1, "{name}");
        found[0]["stringData"][key].as_str().unwrap()
    }
}

/// Everything that `chart.py` renders; it is judged on the way.
fn rendered() -> &'static Rendered {
    static RENDERED: OnceLock<Rendered> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let mut command = Command::new(root().join("target/python/bin/python"));
        let text = succeeds(command.arg(root().join("tests/e2e/chart.py")));
        serde_json::from_str(&text).unwrap()
    })
}

fn case(name: &str) -> &'static Case {
    &rendered().cases[name]
}

/// What the operator's types say against objects.
fn of_operator(objects: &[Value]) -> Vec<String> {
    let mut node = Command::new("node")
        .arg(root().join("tests/e2e/operator.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    input
        .write_all(&serde_json::to_vec(objects).unwrap())
        .unwrap();
    drop(input);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_operators_objects_are_as_its_types_want_them() {
    let objects = rendered().cases.values().flat_map(|case| &case.objects);
    let of_its_own = |object: &&Value| {
        let version = object["apiVersion"].as_str().unwrap();
        version.starts_with("monitoring.coreos.com/")
    };
    let objects: Vec<Value> = objects.filter(of_its_own).cloned().collect();
    for kind in ["ServiceMonitor", "PrometheusRule", "ScrapeConfig"] {
        assert!(objects.iter().any(|own| own["kind"] == kind), "{kind}");
    }
    assert_eq!(of_operator(&objects), Vec::<String>::new());

    let mut wrong = objects[0].clone();
    wrong["spec"] = json!({"groups": [{"name": "a", "rules": [{"alert": "a", "expresion": "1"}]}]});
    wrong["kind"] = "PrometheusRule".into();
    let said = of_operator(&[wrong]);
    assert_eq!(
        said.len(),
        2,
        "a missing field and an unknown one: {said:?}"
    );
}

#[test]
fn the_chart_and_its_image_have_the_exporters_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(rendered().chart["appVersion"], version);
    assert_eq!(
        case("default").container()["image"],
        format!("delivery-exporter:{version}")
    );
}

#[test]
fn plain_manifests_are_what_the_chart_renders() {
    let script = root().join("deploy/kubernetes/render.py");
    succeeds(
        Command::new(root().join("target/python/bin/python"))
            .arg(script)
            .arg("--check"),
    );
}

#[test]
fn no_secret_is_anywhere_but_in_a_secret() {
    let mut kept = 0;
    for (name, case) in &rendered().cases {
        for object in &case.objects {
            let text = object.to_string();
            if object["kind"] == "Secret" {
                kept += text.matches("marker").count();
            } else {
                assert!(!text.contains("marker"), "{name}: {}", object["kind"]);
            }
        }
        assert!(!case.notes.contains("marker"), "{name}");
    }
    assert!(kept >= 5, "the values have secrets: {kept}");
    // The configuration is nowhere but in a Secret either, whatever it holds.
    for config in case("sqlite").of_kind("ConfigMap") {
        let keys: Vec<_> = config["data"].as_object().unwrap().keys().collect();
        assert!(keys.iter().all(|key| key.ends_with(".json")), "{keys:?}");
    }
}

#[test]
fn every_pod_is_restricted() {
    let mut pods = 0;
    for (name, case) in &rendered().cases {
        let templates = case.of_kind("StatefulSet");
        let of_sets = templates.iter().map(|set| &set["spec"]["template"]["spec"]);
        let of_pods = case.of_kind("Pod");
        for pod in of_sets.chain(of_pods.iter().map(|pod| &pod["spec"])) {
            pods += 1;
            let own = &pod["securityContext"];
            assert_eq!(own["runAsNonRoot"], true, "{name}");
            assert_ne!(own["runAsUser"], 0, "{name}");
            assert_eq!(own["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            for container in pod["containers"].as_array().unwrap() {
                assert_eq!(
                    container["securityContext"],
                    json!({
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    }),
                    "{name}"
                );
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                if let Some(secret) = volume.get("secret") {
                    // 0440: the exporter's group, and nobody else.
                    assert_eq!(secret["defaultMode"], 0o440, "{name}");
                }
            }
        }
    }
    assert!(pods > 6, "{pods}");
}

#[test]
fn with_sqlite_there_is_one_replica_with_a_volume() {
    let own = case("sqlite");
    let spec = &own.only("StatefulSet")["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["serviceName"], own.only("Service")["metadata"]["name"]);
    let claim = &spec["volumeClaimTemplates"][0];
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
    let mounts = own.container()["volumeMounts"].as_array().unwrap();
    let data = mounts.iter().find(|own| own["name"] == "data").unwrap();
    let storage = own.arguments();
    let storage = storage
        .iter()
        .find_map(|own| own.strip_prefix("--storage.path="))
        .unwrap();
    assert!(storage.starts_with(data["mountPath"].as_str().unwrap()));
    assert!(own.of_kind("PodDisruptionBudget").is_empty());
    assert!(own.notes.contains("one replica, an SQLite ledger"));
    assert!(!own.notes.contains("NOTHING IS COLLECTED"));
    assert!(case("default").notes.contains("NOTHING IS COLLECTED YET"));
}

#[test]
fn with_postgresql_there_are_three_replicas_that_share_a_database_and_no_disk() {
    let own = case("postgresql");
    let spec = &own.only("StatefulSet")["spec"];
    assert_eq!(spec["replicas"], 3);
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(spec["volumeClaimTemplates"][0]["metadata"]["name"], "data");
    let budget = &own.only("PodDisruptionBudget")["spec"];
    assert_eq!(budget["minAvailable"], 2);
    assert_eq!(budget.get("maxUnavailable"), None);
    assert_eq!(
        budget["selector"]["matchLabels"],
        spec["selector"]["matchLabels"]
    );
    let volumes = &spec["template"]["spec"]["volumes"];
    let store = volumes.as_array().unwrap().iter();
    let store = store.clone().find(|own| own["name"] == "store").unwrap();
    assert_eq!(
        store["secret"]["items"],
        json!([{"key": "uri", "path": "url"}])
    );
    // TLS of the web configuration reaches everything that asks.
    assert_eq!(
        own.container()["readinessProbe"]["httpGet"]["scheme"],
        "HTTPS"
    );
    let monitor = &own.only("ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!(monitor["scheme"], "https");
    // What comes from outside reaches webhooks alone.
    let paths = &own.only("Ingress")["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths.as_array().unwrap().len(), 1);
    assert_eq!(paths[0]["path"], "/webhooks/");
    assert_eq!(
        case("deploy/kubernetes/postgresql.yaml").only("PodDisruptionBudget")["spec"]["maxUnavailable"],
        1
    );
}

#[test]
fn existing_objects_are_taken_and_users_do_not_stop_the_probes() {
    let own = case("users");
    let volumes = &own.only("StatefulSet")["spec"]["template"]["spec"]["volumes"];
    let text = volumes.to_string();
    assert!(text.contains(r#""secretName":"delivery-config""#), "{text}");
    assert!(text.contains(r#""claimName":"delivery-data""#), "{text}");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        // Without a password only the port can be asked for.
        let probe = &own.container()[probe];
        assert_eq!(probe["tcpSocket"]["port"], "http", "{probe}");
        assert_eq!(probe.get("httpGet"), None);
    }
    let secrets = own.of_kind("Secret");
    assert_eq!(secrets.len(), 1, "the web configuration alone");
    let web = own.secret("delivery-web-config", "web.yml");
    assert!(web.contains("basic_auth_users"), "{web}");
    let of_extra = own.of_kind("ConfigMap");
    let names: Vec<_> = of_extra
        .iter()
        .map(|own| &own["metadata"]["name"])
        .collect();
    assert_eq!(names, ["delivery-note", "delivery-text"]);
}

#[test]
fn rules_and_dashboards_lead_to_the_runbooks_of_the_release() {
    let directory = tempfile::tempdir().unwrap();
    let base = "http://delivery-delivery-exporter.monitoring.svc:9847/runbooks";
    for (name, base) in [
        ("sqlite", base),
        ("users", "https://runbooks.example.com/delivery"),
    ] {
        let spec = &case(name).only("PrometheusRule")["spec"];
        // JSON is YAML.
        let file = directory.path().join("rules.yml");
        fs::write(&file, spec.to_string()).unwrap();
        succeeds(Command::new("promtool").args(["check", "rules"]).arg(file));
        let groups = spec["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        let runbooks: Vec<&str> = rules
            .filter_map(|rule| rule["annotations"]["runbook_url"].as_str())
            .collect();
        assert!(runbooks.len() > 10, "{runbooks:?}");
        for url in runbooks {
            assert!(url.starts_with(&format!("{base}/")), "{url}");
        }
    }
    let groups = &case("users").only("PrometheusRule")["spec"]["groups"];
    assert_eq!(groups.as_array().unwrap().last().unwrap()["name"], "own");
    let boards = case("sqlite").of_kind("ConfigMap");
    assert_eq!(boards.len(), 6);
    for board in boards {
        assert_eq!(board["metadata"]["labels"]["grafana_dashboard"], "1");
        assert!(!board.to_string().contains("localhost:9847"));
        for (name, text) in board["data"].as_object().unwrap() {
            let text = text.as_str().unwrap();
            let own: Value = serde_json::from_str(text).unwrap();
            let source = fs::read_to_string(root().join("dashboards").join(name)).unwrap();
            let source = source.replace("http://localhost:9847/runbooks", base);
            assert_eq!(
                own,
                serde_json::from_str::<Value>(&source).unwrap(),
                "{name}"
            );
        }
    }
}

/// Lays the Secrets of a case out as the kubelet mounts them, and gives the container's arguments for there.
fn mounted(case: &Case, name: &str, files: &[(&str, &str)], directory: &Path) -> Vec<String> {
    let etc = directory.join("etc/delivery-exporter");
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(directory.join("var/lib/delivery-exporter")).unwrap();
    fs::write(
        etc.join("config.yaml"),
        case.secret(&format!("{name}-config"), "config.yaml"),
    )
    .unwrap();
    let of_chart = case.of_kind("Secret");
    let of_chart = of_chart
        .iter()
        .filter(|own| own["metadata"]["name"] == format!("{name}-secrets"))
        .flat_map(|own| own["stringData"].as_object().unwrap())
        .map(|(key, value)| (format!("secrets/{key}"), value.as_str().unwrap()));
    let others = files.iter().map(|(path, text)| ((*path).to_owned(), *text));
    for (path, text) in of_chart.chain(others) {
        let path = etc.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // Only paths of files; the telemetry path begins with a slash too.
    let here = |own: &&str| {
        let root = directory.display();
        own.replace("=/etc/", &format!("={root}/etc/"))
            .replace("=/var/", &format!("={root}/var/"))
    };
    case.arguments().iter().map(here).collect()
}

#[test]
fn every_rendered_configuration_passes_the_check() {
    let key = rcgen::generate_simple_self_signed(["delivery".to_owned()]).unwrap();
    let (certificate, key) = (key.cert.pem(), key.signing_key.serialize_pem());
    for (case_name, name) in [
        ("default", "delivery-delivery-exporter"),
        ("sqlite", "delivery-delivery-exporter"),
        ("postgresql", "delivery-delivery-exporter"),
        ("deploy/kubernetes/sqlite.yaml", "delivery-exporter"),
        ("deploy/kubernetes/postgresql.yaml", "delivery-exporter"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            (
                "store/url",
                "postgres://delivery:secret@database/delivery\n",
            ),
            ("secrets/webhook", "a secret\n"),
            ("secrets/infobip", "a secret\n"),
            ("tls/tls.crt", certificate.as_str()),
            ("tls/tls.key", key.as_str()),
        ];
        let own = case(case_name);
        let mut arguments = mounted(own, name, &files, directory.path());
        if own.arguments().iter().any(|own| own.contains("web.yml")) {
            let web = own.secret(&format!("{name}-web-config"), "web.yml");
            let web = web.replace("/etc", &format!("{}/etc", directory.path().display()));
            let etc = directory.path().join("etc/delivery-exporter/web");
            fs::create_dir_all(&etc).unwrap();
            fs::write(etc.join("web.yml"), web).unwrap();
        }
        arguments.push("check".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (status, said, wrong) = run(&arguments, directory.path());
        assert_eq!(status, Some(0), "{case_name}: {said}{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_starts_answers_its_probes_and_keeps_its_data_on_the_volume() {
    let own = case("default");
    let directory = tempfile::tempdir().unwrap();
    let arguments = mounted(own, "delivery-delivery-exporter", &[], directory.path());
    let mut command = binary();
    for argument in &arguments {
        let is_address = argument.starts_with("--web.listen-address=");
        command.arg(if is_address {
            "--web.listen-address=127.0.0.1:0"
        } else {
            argument
        });
    }
    let exporter = Exporter::spawn_bare(command, directory.path()).await;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = own.container()[probe]["httpGet"]["path"].as_str().unwrap();
        assert_eq!(exporter.get(path).await.0, 200, "{probe}");
    }
    let path = case("sqlite").only("ServiceMonitor")["spec"]["endpoints"][0]["path"].clone();
    assert_eq!(exporter.get(path.as_str().unwrap()).await.0, 200);
    let ledger = "var/lib/delivery-exporter/data/delivery.db";
    assert!(directory.path().join(ledger).exists());
    // The image's root is read-only.
    assert!(!directory.path().join("etc/delivery-exporter/data").exists());
}
