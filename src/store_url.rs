//! URLs of a ledger's store, for `store.url` and `migrate`.

use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// The location of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// An SQLite file, for one exporter.
    Sqlite(PathBuf),
    /// A PostgreSQL server, for several exporters. The whole URL is a secret, because it can contain a
    /// password.
    Postgres(Secret),
}

impl StoreUrl {
    /// Parses `sqlite:data/delivery.db`, `postgres://user:password@host/database` and the like; `None` for
    /// anything else. A path is not changed.
    pub fn parse(url: &str) -> Option<StoreUrl> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return (!path.is_empty()).then(|| StoreUrl::Sqlite(path.into()));
        }
        let has_scheme = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let is_postgres = has_scheme && url.parse::<tokio_postgres::Config>().is_ok();
        is_postgres.then(|| StoreUrl::Postgres(Secret::new(url)))
    }

    /// The same location, with a file's path transformed by `place`.
    pub fn placed(self, place: impl FnOnce(&Path) -> PathBuf) -> StoreUrl {
        match self {
            StoreUrl::Sqlite(path) => StoreUrl::Sqlite(place(&path)),
            postgres => postgres,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_a_database() {
        for (url, path) in [
            ("sqlite:data/delivery.db", "data/delivery.db"),
            ("sqlite:///var/lib/delivery.db", "/var/lib/delivery.db"),
            ("sqlite:/var/lib/delivery.db", "/var/lib/delivery.db"),
        ] {
            assert_eq!(StoreUrl::parse(url), Some(StoreUrl::Sqlite(path.into())));
        }
        for url in [
            "postgres://user:hidden@host/database",
            "postgresql://host/database",
        ] {
            let read = StoreUrl::parse(url).unwrap();
            assert_eq!(read, StoreUrl::Postgres(Secret::new(url)));
            assert!(!format!("{read:?}").contains("host"), "{read:?}");
        }
        for url in [
            "",
            "sqlite:",
            "sqlite://",
            "data/delivery.db",
            "mysql://host/database",
        ] {
            assert_eq!(StoreUrl::parse(url), None, "{url}");
        }
        assert_eq!(StoreUrl::parse("postgres://host:port/database"), None);
    }

    #[test]
    fn only_a_file_has_a_place() {
        let below = |path: &Path| Path::new("/etc").join(path);
        let file = StoreUrl::parse("sqlite:a.db").unwrap().placed(below);
        assert_eq!(file, StoreUrl::Sqlite("/etc/a.db".into()));
        let database = StoreUrl::parse("postgres://host/database").unwrap();
        assert_eq!(database.clone().placed(below), database);
    }
}
