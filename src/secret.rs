//! Secrets that cannot be exposed by accident; only [`Secret::expose`] returns them.

use std::{fmt, path::PathBuf, sync::Arc};

use crate::files;

/// A password, token or key. Neither `Debug` nor `Display` nor an error can show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<Arc<str>>) -> Secret {
        Secret(value.into())
    }

    /// The value. Every caller is a place where a secret leaves the exporter.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A secret with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// The last value that was read.
    pub value: Secret,
    /// The file that it was read from (`x_file`); `None` if it is in the configuration.
    pub file: Option<PathBuf>,
}

impl SecretSource {
    /// Reads the file again, without the line end that editors add. `Ok(None)` if the secret did not come
    /// from a file.
    pub fn reread(&self) -> std::io::Result<Option<Secret>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let text = files::read_text(file, files::MAX_SECRET)?;
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
    }
}
