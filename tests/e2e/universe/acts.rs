//! What each act does, and what has to be seen of it.

use std::time::Duration;

use delivery_simulators::{Account, faults::Fault as VendorFault};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    super::moods::{
        judge::{family_of, label},
        outages::outages,
        truth::{LOYALTY, MAIL},
    },
    replicas::LEASE,
    story::{Act, Stops, name, place},
    telling::{PIECE, Telling},
};

impl Telling {
    pub fn broken(&mut self, promise: &'static str, whose: &str, text: String) {
        self.judge.broken(promise, whose, text);
    }

    /// The value of a series in a replica's scrape.
    fn value(&self, replica: usize, family: &str, account: &str) -> Option<f64> {
        self.prometheus.value(replica, family, account)
    }

    fn holder(&self, account: &str) -> Option<usize> {
        let family = "delivery_exporter_lease_held";
        (0..self.universe.replicas.len())
            .find(|index| self.value(*index, family, account) == Some(1.0))
    }

    fn stop_at(&mut self, replica: usize, stops: &Stops) {
        for (account, (operation, stop)) in stops {
            let gate = &self.universe.replicas[replica].gate;
            gate.stop_at(&name(account), *operation, *stop);
        }
    }

    /// An act, with time for it to show; all is well at its end.
    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Stop { replica, away } => {
                self.universe.stop(*replica);
                self.pieces(*away);
                self.universe.start(*replica);
            }
            Act::Kill {
                replica,
                holder,
                stops,
                away,
            } => {
                let replica = if *holder {
                    self.universe.next_to_wake()
                } else {
                    *replica
                };
                self.stop_at(replica, stops);
                self.universe.jump(Duration::from_secs(3600));
                self.register();
                self.universe.go_on(PIECE);
                self.universe.kill(replica);
                self.observe();
                self.pieces(*away);
                self.universe.start(replica);
            }
            Act::Pause {
                replica,
                stops,
                store_first,
            } => {
                self.stop_at(*replica, stops);
                self.pieces(3);
                self.universe.pause(*replica);
                self.pieces(4);
                self.universe.resume(*replica, *store_first);
                self.observe();
            }
            Act::StoreCut { replica, cut } => {
                self.universe.replicas[*replica].gate.cut(*cut);
                self.pieces(5);
                self.store_is_missed(*replica);
                self.universe.replicas[*replica].gate.open();
            }
            Act::StoreDown { cut } => {
                let all = 0..self.universe.replicas.len();
                all.clone()
                    .for_each(|own| self.universe.replicas[own].gate.cut(*cut));
                self.pieces(5);
                all.clone().for_each(|own| self.store_is_missed(own));
                all.for_each(|own| self.universe.replicas[own].gate.open());
            }
            Act::StoreFlaky { per_mille } => {
                for replica in &self.universe.replicas {
                    replica.gate.make_flaky(*per_mille);
                }
                // There is much to count while operations fail.
                for _ in 0..3 {
                    self.universe.jump(Duration::from_secs(7 * 3600));
                    self.register();
                    self.pieces(2);
                }
                for replica in &self.universe.replicas {
                    replica.gate.open();
                }
            }
            Act::VendorsCut { replica } => {
                for server in &self.universe.replicas[*replica].vendors {
                    server.faults().add("/", VendorFault::Closed, None);
                }
                self.pieces(6);
                for account in [MAIL, LOYALTY] {
                    if self.holder(account) == Some(*replica) {
                        self.vendor_is_missed(account);
                    }
                }
                for server in &self.universe.replicas[*replica].vendors {
                    server.faults().clear();
                }
            }
            Act::Outage { account, kind } => {
                let (what, fault, _) = outages().swap_remove(*kind);
                let (server, path) = place(account);
                for replica in &self.universe.replicas {
                    replica.vendors[server]
                        .faults()
                        .add(path, fault.clone(), None);
                }
                self.pieces(6);
                // An answer without a report is too short to be cut.
                let shows = what != "cut" && [MAIL, LOYALTY].contains(account);
                if shows && self.holder(account).is_some() {
                    self.vendor_is_missed(account);
                }
                for replica in &self.universe.replicas {
                    replica.vendors[server].faults().clear();
                }
            }
            Act::Torn { account, at, times } => {
                let (server, path) = place(account);
                for replica in &self.universe.replicas {
                    let faults = replica.vendors[server].faults();
                    faults.add(path, VendorFault::Cut(*at), Some(*times));
                }
                self.universe.jump(Duration::from_secs(3600));
                self.pieces(3);
                for replica in &self.universe.replicas {
                    replica.vendors[server].faults().clear();
                }
            }
            Act::Pushed { replica } => self.push(*replica),
            Act::ClockSet {
                replica,
                by,
                restart,
            } => self.set_clock(*replica, SignedDuration::from_secs(*by), *restart),
        }
        self.pieces(2);
        self.look();
    }

    /// Reports are pushed: some that were handed out before, and some that nobody has seen.
    fn push(&mut self, replica: usize) {
        if !self.case.accounts.contains(&MAIL) {
            return;
        }
        let told = self.universe.world.told(Account::InfobipEmail);
        let handed_out = told["reports"].as_array().cloned().unwrap_or_default();
        let mut body: Vec<Value> = handed_out.iter().rev().take(2).cloned().collect();
        let count = self.pushed.len() + self.in_doubt.len();
        for (index, report) in handed_out.into_iter().rev().take(3).enumerate() {
            let mut new = report;
            new["messageId"] = json!(format!("pushed-{}", count + index));
            self.in_doubt.push(new.clone());
            body.push(new);
        }
        match self.universe.push(replica, &json!({"results": body})) {
            Ok(()) => self.pushed.append(&mut self.in_doubt),
            Err(error) => self.broken("webhook", MAIL, error),
        }
    }

    /// A replica that has not reached the store for longer than its lease has said so, and shows no
    /// account.
    fn store_is_missed(&mut self, replica: usize) {
        if self.value(replica, "delivery_exporter_store_up", "") != Some(0.0) {
            let text = format!(
                "replica {replica} says that its store is up at {}",
                self.universe.now()
            );
            self.broken("blind", "store", text);
        }
        for account in self.case.accounts.clone() {
            if self.value(replica, "delivery_exporter_lease_held", account) != Some(0.0) {
                let text = format!("replica {replica} holds it without a store for {LEASE:?}");
                self.broken("blind", account, text);
            }
        }
    }

    /// A vendor that has not answered for two intervals is seen to.
    fn vendor_is_missed(&mut self, account: &str) {
        let merged = self.prometheus.merged();
        let failed = merged.samples().iter().any(|(key, value)| {
            family_of(key) == "delivery_exporter_collect_success"
                && label(key, "account") == account
                && *value == 0.0
        });
        if !failed {
            let text = format!("nothing of it fails at {}", self.universe.now());
            self.broken("blind", account, text);
        }
    }

    /// A replica's wall clock is set, stays so for an hour and a half, in which the replica may start anew, and is
    /// set right again. Whoever holds an account, it is queried as ever.
    fn set_clock(&mut self, replica: usize, by: SignedDuration, restart: bool) {
        let hand = self.universe.replicas[replica].hand.clone();
        hand.step(by);
        self.is_queried("its clock is set");
        if restart {
            self.universe.kill(replica);
            self.pieces(1);
            self.universe.start(replica);
        }
        // A process that starts drops nothing for an hour, whatever its clock says.
        self.universe.jump(Duration::from_secs(80 * 60));
        self.register();
        self.pieces(2);
        self.is_queried("its clock is wrong");
        self.look();
        hand.step(-by);
        self.is_queried("its clock is right again");
        for account in self.case.accounts.clone() {
            // A vendor in a mood may ask for pauses.
            let moody = self.case.mood.is_some_and(|own| own.0 == account);
            let Some(holder) = self.holder(account).filter(|_| !moody) else {
                continue;
            };
            let now = self.universe.replicas[holder].now();
            self.judge.due(&self.prometheus.merged(), account, now);
        }
    }

    /// Two intervals go by, and vendors that are queried in each of them are.
    fn is_queried(&mut self, when: &str) {
        let always = [(MAIL, Account::InfobipEmail), (LOYALTY, Account::Pushwoosh)];
        let counts = |own: &Telling| {
            always.map(|(_, vendor)| own.universe.world.requests(vendor).values().sum::<u64>())
        };
        let before = counts(self);
        self.pieces(6);
        let after = counts(self);
        for (index, (account, _)) in always.into_iter().enumerate() {
            if self.case.accounts.contains(&account) && before[index] == after[index] {
                let text = format!(
                    "no query in two intervals, {when}, at {}",
                    self.universe.now()
                );
                self.broken("silent", account, text);
            }
        }
    }
}
