//! Decoding an answer, and noticing what is new in it.

use serde::Deserialize;

use super::json::Fields;

/// Decodes a JSON object. `unknown` is told the path of every field that the type does not know, without
/// ids and list places in it: the vendor's answers have changed shape.
///
/// # Errors
///
/// What is wrong, without any of the content.
pub(super) fn decode<'de, T: Deserialize<'de> + Default>(
    json: &'de [u8],
    unknown: &mut dyn FnMut(&str),
) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut note = |path: serde_ignored::Path<'_>| unknown(&without_places(&path.to_string()));
    let Fields(value) = serde_ignored::deserialize(&mut deserializer, &mut note)
        .map_err(|error| super::json::problem(&error))?;
    deserializer
        .end()
        .map_err(|error| super::json::problem(&error))?;
    Ok(value)
}

/// The path of a field without ids and list places in it.
pub(super) fn without_places(path: &str) -> String {
    let words = path
        .split('.')
        .filter(|word| *word != "?" && !word.bytes().all(|byte| byte.is_ascii_digit()));
    words.collect::<Vec<_>>().join(".")
}
