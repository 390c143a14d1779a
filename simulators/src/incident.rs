//! Incidents that are switched on and off while the simulators run. Each shows through the vendors'
//! own protocols: in their numbers, their reports or their errors.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use clap::ValueEnum;
use delivery_clock::Clock;
use jiff::Timestamp;

/// Something that goes wrong at the vendors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Incident {
    /// FCM delivers nothing and refuses part of what it is sent, at every vendor that uses it.
    FcmOutage,
    /// A third of the e-mails come back as hard bounces.
    BounceStorm,
    /// Pushwoosh's API answers 503.
    VendorDown,
    /// EngageLab's API answers 401: its key has expired.
    KeyExpired,
}

impl Incident {
    /// All of them.
    pub const ALL: [Incident; 4] = [
        Incident::FcmOutage,
        Incident::BounceStorm,
        Incident::VendorDown,
        Incident::KeyExpired,
    ];

    /// The name on the command line and in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Incident::FcmOutage => "fcm-outage",
            Incident::BounceStorm => "bounce-storm",
            Incident::VendorDown => "vendor-down",
            Incident::KeyExpired => "key-expired",
        }
    }

    /// The incident of that name.
    pub fn from_name(name: &str) -> Option<Incident> {
        Incident::ALL.into_iter().find(|own| own.name() == name)
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From when to when an incident lasted; without an end it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Option<Timestamp>,
}

impl Period {
    /// Whether it lasted at a moment.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && self.to.is_none_or(|to| at < to)
    }
}

type Periods = BTreeMap<Incident, Arc<[Period]>>;

/// The periods of all incidents. Clones share them.
#[derive(Clone)]
pub struct Incidents {
    clock: Clock,
    periods: Arc<Mutex<Periods>>,
}

impl fmt::Debug for Incidents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incidents").field(&*self.lock()).finish()
    }
}

impl Incidents {
    /// Without an incident.
    pub fn new(clock: Clock) -> Incidents {
        Incidents {
            clock,
            periods: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Periods> {
        self.periods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches an incident on or off. Switching to what it is already changes nothing.
    pub fn set(&self, incident: Incident, on: bool) {
        let now = self.clock.now();
        let mut all = self.lock();
        let mut periods = all.get(&incident).map_or_else(Vec::new, |own| own.to_vec());
        let open = periods.iter_mut().find(|period| period.to.is_none());
        match (open, on) {
            (None, true) => periods.push(Period {
                from: now,
                to: None,
            }),
            (Some(period), false) => period.to = Some(now),
            _ => return,
        }
        all.insert(incident, periods.into());
    }

    /// Whether an incident goes on.
    pub fn is_on(&self, incident: Incident) -> bool {
        self.periods(incident)
            .iter()
            .any(|period| period.to.is_none())
    }

    /// Whether an incident lasted at a moment.
    pub fn lasted(&self, incident: Incident, at: Timestamp) -> bool {
        self.periods(incident)
            .iter()
            .any(|period| period.contains(at))
    }

    /// When an incident lasted.
    pub fn periods(&self, incident: Incident) -> Arc<[Period]> {
        self.lock().get(&incident).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_incident_lasts_from_its_switching_on_to_its_switching_off() {
        let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let (clock, hand) = Clock::manual(begin);
        let incidents = Incidents::new(clock.clone());
        let own = Incident::BounceStorm;
        incidents.set(own, false);
        assert_eq!(incidents.periods(own).len(), 0);
        for _ in 0..2 {
            incidents.set(own, true);
            hand.advance(Duration::from_secs(60));
        }
        assert!(incidents.is_on(own) && incidents.lasted(own, begin));
        incidents.set(own, false);
        assert!(!incidents.is_on(own) && !incidents.lasted(own, clock.now()));
        assert_eq!(incidents.periods(own).len(), 1);
        assert!(!incidents.is_on(Incident::KeyExpired));
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for own in Incident::ALL {
            assert_eq!(Incident::from_name(own.name()), Some(own));
            let value = own.to_possible_value().unwrap();
            assert_eq!(value.get_name(), own.name());
        }
        assert_eq!(Incident::from_name("flood"), None);
    }
}
