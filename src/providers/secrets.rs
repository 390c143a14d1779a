//! The secrets of an account as they are now: rotated files are read again when a vendor refuses
//! the old ones.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    redact,
    secret::{Secret, SecretSource},
};

/// The secrets of one account, in the order in which they were given.
pub(super) struct Secrets {
    sources: Vec<SecretSource>,
    current: ArcSwap<Vec<Secret>>,
}

impl Secrets {
    pub(super) fn new(sources: Vec<SecretSource>) -> Secrets {
        let current: Vec<_> = sources.iter().map(|source| source.value.clone()).collect();
        register(&current);
        Secrets {
            sources,
            current: ArcSwap::from_pointee(current),
        }
    }

    /// The values now.
    pub(super) fn current(&self) -> Arc<Vec<Secret>> {
        self.current.load_full()
    }

    /// Reads the files again; whether there were any to read.
    pub(super) fn refresh(&self) -> bool {
        let mut values = self.current.load().as_ref().clone();
        let mut read = false;
        for (value, source) in values.iter_mut().zip(&self.sources) {
            match source.reread() {
                Ok(Some(secret)) => {
                    *value = secret;
                    read = true;
                }
                Ok(None) => {}
                Err(error) => {
                    let file = source.file.as_deref().unwrap_or("".as_ref()).display();
                    tracing::warn!(%file, %error, "a secret's file cannot be read again");
                }
            }
        }
        register(&values);
        self.current.store(Arc::new(values));
        read
    }
}

/// Keeps secrets out of whatever is shown from now on, also in the pairs that Basic authentication
/// makes of them.
fn register(secrets: &[Secret]) {
    redact::register(secrets.iter().map(Secret::expose));
    if let [user, password, ..] = secrets {
        redact::register_user(user.expose(), password.expose());
    }
}
