//! Implements the HTTP endpoints' interface to the exporter.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::{Exporter, exporter::ActiveAccount, probes::PROBE_FLOOR};
use crate::{
    collector::Recorder,
    config::Account,
    ledger::{Amount, LedgerDelta, Registration, StoreError},
    model::{Application, Message},
    providers::{MessagesQuery, Observation, Pushed, Vendors},
    redact::masked,
    secret::Secret,
    series::{self, NamedCounter, Probed, Visitor, WebhookOutcome},
    web::Backend,
};

impl Exporter {
    fn live(&self, account: &str) -> Option<Arc<ActiveAccount>> {
        self.all_live()
            .into_iter()
            .find(|own| own.account.name.as_ref() == account)
    }

    async fn take_reports(
        &self,
        live: &ActiveAccount,
        application: &Application,
        body: Bytes,
        read: crate::providers::ReportsRead,
    ) -> Result<LedgerDelta, String> {
        // The body is written to disk before any of it is counted, like a polled body.
        let mut writer = live.ledger.spool().begin().await.map_err(|error| error.0)?;
        writer.write(&body).await.map_err(|error| error.0)?;
        let name = writer.finish().await.map_err(|error| error.0)?;
        let counted = live.ledger.reports(application, vec![(name, read)]).await;
        counted.map_err(|error| error.to_string())
    }

    async fn take(&self, live: &ActiveAccount, body: Bytes) -> Result<WebhookOutcome, String> {
        let application = live.account.applications.first().cloned();
        let application = application.unwrap_or_else(|| Application {
            id: Arc::from(""),
            name: live.account.name.clone(),
        });
        let Some((dataset, _)) = live.account.vendor.webhook() else {
            return Err("the vendor does not push reports".to_owned());
        };
        let Pushed {
            reports, events, ..
        } = live.provider.read_pushed(&body);
        let mut delta = LedgerDelta::default();
        let mut new = 0;
        let (told, kept) = (reports.reports.len() as u64, reports.damage.is_some());
        let known = told > 0 || !events.is_empty();
        if !events.is_empty() {
            let counted = live
                .ledger
                .happened(&application, dataset, events, None)
                .await;
            let (more, counted) = counted.map_err(|error| error.to_string())?;
            delta.append(more);
            new += counted;
        }
        if told > 0 || kept {
            let more = self.take_reports(live, &application, body, reports).await?;
            new += told - more.duplicates.min(told);
            delta.append(more);
        }
        // Everything is either durable or not counted; what cannot be parsed is kept.
        let outcome = if kept {
            WebhookOutcome::Quarantined
        } else if new > 0 {
            WebhookOutcome::Counted
        } else if known {
            WebhookOutcome::Duplicate
        } else {
            WebhookOutcome::Unsupported
        };
        live.series.delta(&delta);
        live.series.webhook(outcome);
        Ok(outcome)
    }

    async fn ask_for(&self, live: &ActiveAccount, application: &Application, id: &str) -> Probed {
        let clock = self.clock();
        let message = Message {
            application: application.id.clone(),
            id: Arc::from(id),
            campaign: None,
            sent_at: None,
        };
        let (mut snapshot, began) = (None, clock.monotonic());
        let messages = [message.clone()];
        if let Some(dataset) = live.account.snapshots() {
            let query = MessagesQuery {
                dataset,
                application,
                messages: &messages,
                // Only one attempt, because the prober has its own timeout.
                patience: Duration::ZERO,
            };
            let answer = live.provider.messages(query).await;
            for observation in answer.observations {
                if let Observation::MessageSnapshot(own) = observation {
                    snapshot = Some(*own);
                }
            }
            if let Err(failure) = answer.result {
                tracing::debug!(account = %live.account.name, error = %failure, "a probe failed");
            }
        }
        Probed {
            application: application.clone(),
            message: Message {
                campaign: snapshot.as_ref().and_then(|own| own.campaign.clone()),
                ..message
            },
            snapshot,
            lasted: clock.monotonic().since(began),
        }
    }
}

impl Backend for Exporter {
    fn api_token(&self) -> Option<Secret> {
        self.config().api_token.clone()
    }

    fn vendors(&self) -> Vendors {
        self.config().vendors
    }

    fn accounts(&self) -> Vec<Arc<Account>> {
        self.all_live()
            .iter()
            .map(|own| own.account.clone())
            .collect()
    }

    fn max_body(&self) -> usize {
        let limit = self.config().limits.max_response_bytes;
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    fn register(&self, messages: Vec<Registration>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ledger().register(messages).boxed()
    }

    fn rejected(&self, account: &str, reason: &str) {
        if let Some(live) = self.live(account) {
            live.series.rejected(reason);
            live.series.publish();
        }
    }

    fn messages<'a>(&'a self, account: &'a str) -> BoxFuture<'a, Result<Value, StoreError>> {
        async move {
            let Some(live) = self.live(account) else {
                return Ok(json!([]));
            };
            let name = |id: &Arc<str>| {
                let own = live.account.applications.iter().find(|own| own.id == *id);
                own.map_or_else(|| id.clone(), |own| own.name.clone())
            };
            let mut found = HashMap::new();
            for message in live.ledger.registered(0).await?.0 {
                let entry = json!({
                    "id": masked(&message.id), "application": name(&message.application),
                    "campaign": message.campaign.as_deref().map(masked), "sent_at": message.sent_at.map(|at| at.to_string()),
                    "registered": true,
                });
                found.insert((message.application, message.id), entry);
            }
            for (id, met) in live.ledger.watched().await {
                let registered = found.contains_key(&id);
                let entry = json!({
                    "id": masked(&id.1), "application": name(&id.0), "campaign": met.campaign.as_deref().map(masked),
                    "sent_at": met.sent_at.map(|at| at.to_string()),
                    "first_seen": met.first_seen.to_string(), "registered": registered,
                });
                found.insert(id, entry);
            }
            let mut entries: Vec<_> = found.into_iter().collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
            Ok(json!({"account": account, "messages": entries}))
        }
        .boxed()
    }

    fn status(&self) -> BoxFuture<'_, Result<Value, StoreError>> {
        async move {
            let status = self.current_status();
            let mut accounts = Vec::new();
            for live in self.all_live() {
                let note = status.accounts.iter().find(|own| own.account.name == live.account.name);
                // Counters of one series are added up, as in the exposition.
                let mut named: Vec<(NamedCounter, Amount, Amount)> = Vec::new();
                let mut places: HashMap<NamedCounter, usize> = HashMap::new();
                for (key, total, pending) in live.ledger.totals().await? {
                    if let Some(name) = live.series.named(&key) {
                        match places.get(&name) {
                            Some(place) => {
                                named[*place].1.add(&total);
                                named[*place].2.add(&pending);
                            }
                            None => {
                                places.insert(name.clone(), named.len());
                                named.push((name, total, pending));
                            }
                        }
                    }
                }
                let totals: Vec<Value> = named
                    .into_iter()
                    .map(|((metric, labels), total, pending)| {
                        let labels: serde_json::Map<String, Value> = labels
                            .into_iter()
                            .map(|(name, value)| (name.to_owned(), json!(value)))
                            .collect();
                        json!({
                            "metric": metric, "labels": labels,
                            "total": amount(&total), "pending": amount(&pending),
                        })
                    })
                    .collect();
                accounts.push(json!({
                    "account": live.account.name,
                    "provider": live.account.vendor.name,
                    "lease_held": self.ledger().lease(&live.account.name).runs(),
                    "ready": note.is_some_and(|own| own.ready),
                    "next_query_at": note.and_then(|own| own.next).map(|at| at.to_string()),
                    "last_error": note.and_then(|own| own.last_error.as_deref().map(masked)),
                    "totals": totals,
                }));
            }
            Ok(json!({
                "version": env!("CARGO_PKG_VERSION"), "replica": status.replica, "accounts": accounts,
            }))
        }
        .boxed()
    }

    fn pushed<'a>(
        &'a self,
        account: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<WebhookOutcome, String>> {
        async move {
            match self.live(account) {
                Some(live) => self.take(&live, body).await,
                None => Err("the account is no longer configured".to_owned()),
            }
        }
        .boxed()
    }

    fn refused(&self, account: &str) {
        if let Some(live) = self.live(account) {
            live.series.webhook(WebhookOutcome::Refused);
        }
    }

    fn probe<'a>(
        &'a self,
        account: &'a Account,
        application: usize,
        message: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Probed>, Duration>> {
        async move {
            let key = (account.name.clone(), application, message.to_owned());
            let last = self.probes().of(key);
            // Concurrent probes for the message wait for the same answer.
            let mut last = last.lock().await;
            let now = self.clock().monotonic();
            if let Some((at, probed)) = last.as_ref()
                && now.since(*at) < PROBE_FLOOR
            {
                return Ok(probed.clone());
            }
            self.probes().admit(account, self.clock())?;
            let of = account.applications.get(application).cloned();
            let of = of.unwrap_or_else(|| Application {
                id: Arc::from(""),
                name: account.name.clone(),
            });
            let probed = match self.live(&account.name) {
                Some(live) => self.ask_for(&live, &of, message).await,
                None => Probed {
                    application: of.clone(),
                    message: Message {
                        application: of.id,
                        id: Arc::from(message),
                        campaign: None,
                        sent_at: None,
                    },
                    snapshot: None,
                    lasted: Duration::ZERO,
                },
            };
            let probed = Arc::new(probed);
            *last = Some((self.clock().monotonic(), probed.clone()));
            Ok(probed)
        }
        .boxed()
    }

    fn show_probe(&self, account: &Account, probed: &Probed, visitor: &mut dyn Visitor) {
        series::show_probe(account, &self.config(), self.clock(), probed, visitor);
    }
}

/// An amount in JSON, as a string if a number could not represent it exactly.
fn amount(amount: &Amount) -> Value {
    match amount {
        Amount::Count(count) => json!(count),
        Amount::Money(money) => json!(money.to_string()),
        Amount::Times(times) => json!(times.count()),
    }
}
