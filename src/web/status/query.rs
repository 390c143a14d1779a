//! The reader's search, filter and sort order. They are part of the address, so that they work without a
//! script and can be shared as a link.

use std::fmt::Write;

use serde::Deserialize;

/// The maximum length of a search, in characters.
const MAX_SEARCH_CHARS: usize = 100;

/// The order of the accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Those in trouble first, then as in the configuration.
    #[default]
    Trouble,
    Name,
    /// The smallest share of the usual first, then the smallest rate.
    Rate,
    /// The most messages first.
    Sent,
    /// The longest time without a success first.
    Success,
}

impl Order {
    const ALL: [(Order, &'static str, &'static str); 5] = [
        (Order::Trouble, "trouble", "Trouble first"),
        (Order::Name, "name", "Name"),
        (Order::Rate, "rate", "Lowest against usual"),
        (Order::Sent, "sent", "Most messages"),
        (Order::Success, "success", "Longest without success"),
    ];

    fn key(self) -> &'static str {
        let own = Order::ALL.iter().find(|(order, ..)| *order == self);
        own.map_or("trouble", |(_, key, _)| key)
    }
}

/// The raw parameters; invalid ones are replaced by the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Parameters {
    q: String,
    show: String,
    sort: String,
    refresh: String,
    at: String,
    turn: String,
}

/// Whether a text can be an account's name.
fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !text.is_empty() && text.len() <= 200 && text.bytes().all(is_of_name)
}

/// The parsed parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Query {
    pub(super) search: String,
    pub(super) only_trouble: bool,
    pub(super) order: Order,
    /// Seconds between two reloads of the page without a script.
    pub(super) refresh: Option<u32>,
    /// The reader's position on such a page: the account whose section was opened.
    at: String,
    /// Distinguishes two alternating addresses; see [`Query::next_load`].
    turn: bool,
}

impl From<Parameters> for Query {
    fn from(parameters: Parameters) -> Query {
        let order = Order::ALL
            .iter()
            .find(|(_, key, _)| *key == parameters.sort);
        Query {
            search: parameters.q.trim().chars().take(MAX_SEARCH_CHARS).collect(),
            only_trouble: parameters.show == "trouble",
            order: order.map_or(Order::Trouble, |(order, ..)| *order),
            refresh: parameters
                .refresh
                .parse()
                .ok()
                .filter(|own| (5..=3600).contains(own)),
            at: if is_name(&parameters.at) {
                parameters.at
            } else {
                String::new()
            },
            turn: parameters.turn == "1",
        }
    }
}

impl Query {
    /// Whether one of the texts contains the search.
    pub(super) fn matches<'t>(&self, mut texts: impl Iterator<Item = &'t str>) -> bool {
        let wanted = self.search.to_lowercase();
        wanted.is_empty() || texts.any(|text| text.to_lowercase().contains(&wanted))
    }

    /// The link to an account's section. A page that reloads needs to know the reader's position.
    pub(super) fn section(&self, account: &str) -> String {
        if self.refresh.is_none() {
            return format!("#account-{account}");
        }
        format!(
            "{}&at={account}#account-{account}",
            self.refreshing(self.refresh)
        )
    }

    /// The value of `http-equiv="refresh"`: the delay and the address. Without an address, a browser reloads
    /// the page and keeps its position; but if the current address has a fragment, the browser only scrolls
    /// there. In that case the value names another address, which differs in `turn`.
    pub(super) fn next_load(&self) -> Option<String> {
        let seconds = self.refresh?;
        if self.at.is_empty() {
            return Some(seconds.to_string());
        }
        let (address, at) = (self.refreshing(self.refresh), &self.at);
        let turn = u8::from(!self.turn);
        Some(format!(
            "{seconds}; url={address}&at={at}&turn={turn}#account-{at}"
        ))
    }

    /// The address of the same page in another order.
    pub(super) fn in_order(&self, order: Order) -> String {
        self.with(order, self.refresh)
    }

    /// The address of the same page with this reload interval, or without reloading.
    pub(super) fn refreshing(&self, refresh: Option<u32>) -> String {
        self.with(self.order, refresh)
    }

    fn with(&self, order: Order, refresh: Option<u32>) -> String {
        let mut address = String::from("?");
        let mut add = |key: &str, value: &str| {
            if address.len() > 1 {
                address.push('&');
            }
            address.push_str(key);
            address.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                    address.push(char::from(byte));
                } else {
                    // Writing to a string does not fail.
                    let _ = write!(address, "%{byte:02X}");
                }
            }
        };
        if !self.search.is_empty() {
            add("q", &self.search);
        }
        if self.only_trouble {
            add("show", "trouble");
        }
        if order != Order::Trouble {
            add("sort", order.key());
        }
        if let Some(refresh) = refresh {
            add("refresh", &refresh.to_string());
        }
        address
    }

    /// The available orders: value, label, and whether it is selected.
    pub(super) fn orders(&self) -> [(&'static str, &'static str, bool); 5] {
        Order::ALL.map(|(order, key, words)| (key, words, order == self.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_in_addresses_and_come_back() {
        let parameters = Parameters {
            q: "  shöp & co ".to_owned(),
            show: "trouble".to_owned(),
            sort: "rate".to_owned(),
            refresh: "30".to_owned(),
            ..Parameters::default()
        };
        let query = Query::from(parameters);
        assert_eq!(
            query.in_order(Order::Name),
            "?q=sh%C3%B6p%20%26%20co&show=trouble&sort=name&refresh=30"
        );
        assert_eq!(
            query.refreshing(None),
            "?q=sh%C3%B6p%20%26%20co&show=trouble&sort=rate"
        );
        assert_eq!(query.next_load().unwrap(), "30");
        assert_eq!(
            query.section("shop"),
            "?q=sh%C3%B6p%20%26%20co&show=trouble&sort=rate&refresh=30&at=shop#account-shop"
        );
        let at = Query::from(Parameters {
            refresh: "5".to_owned(),
            at: "shop".to_owned(),
            turn: "1".to_owned(),
            ..Parameters::default()
        });
        assert_eq!(
            at.next_load().unwrap(),
            "5; url=?refresh=5&at=shop&turn=0#account-shop"
        );
        assert_eq!(Query::default().section("shop"), "#account-shop");
        let odd = Parameters {
            at: "\"><b>".to_owned(),
            sort: "x".to_owned(),
            refresh: "1".to_owned(),
            ..Parameters::default()
        };
        assert_eq!(Query::from(odd), Query::default());
        assert_eq!(Query::default().in_order(Order::Trouble), "?");
        assert!(
            query.matches(["a", "The SHÖP & Co"].into_iter()) && !query.matches(["x"].into_iter())
        );
    }
}
