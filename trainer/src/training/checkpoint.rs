//! A run that is interrupted goes on as if it had not been.
//!
//! Everything that later episodes depend on is in one safetensors file: the learner, what is replayed, where random streams stand, the
//! scale of the features, and the text of the configuration, so that a run is never gone on with as another one. Worlds are functions of seed
//! and episode and need nothing.

use std::path::Path;

use super::run::{Run, RunError};
use crate::learners::saved::Saved;

/// The file in a run's folder.
const FILE: &str = "checkpoint.safetensors";

/// Text as words: its length, then eight bytes each.
fn words(text: &str) -> Vec<u64> {
    let chunk = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    std::iter::once(text.len() as u64).chain(text.as_bytes().chunks(8).map(chunk)).collect()
}

/// The text of words.
fn text(words: &[u64]) -> Option<String> {
    let (&length, rest) = words.split_first()?;
    let mut bytes: Vec<u8> = rest.iter().flat_map(|word| word.to_le_bytes()).collect();
    (length as usize <= bytes.len()).then(|| bytes.truncate(length as usize))?;
    String::from_utf8(bytes).ok()
}

/// Whether a run was written down in a folder.
pub fn is_in(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// Writes a run down. The file that was there is replaced at once or not at all.
pub fn save(folder: &Path, run: &Run) -> Result<(), RunError> {
    let mut saved = run.save()?;
    saved.put_words("config", words(&format!("{:?}", run.config())));
    saved.put_words("normaliser", words(&run.normaliser()?));
    Ok(saved.write(&folder.join(FILE))?)
}

/// Brings a run at its beginning to where [`save`] wrote it down.
///
/// Errors: nothing was written down there, it is not whole, or it is of another configuration. The run is not to be used then.
pub fn restore(folder: &Path, run: &mut Run) -> Result<(), RunError> {
    let saved = Saved::read(&folder.join(FILE))?;
    let known = text(saved.words("config")?);
    if known.is_none_or(|known| known != format!("{:?}", run.config())) {
        return Err(RunError::Config);
    }
    let normaliser = text(saved.words("normaliser")?).unwrap_or_default();
    run.restore(&saved, &normaliser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_as_words() {
        for line in ["", "1234567", "12345678", "ρ ≤ 1, and more than eight bytes"] {
            assert_eq!(text(&words(line)).as_deref(), Some(line));
        }
        assert_eq!(text(&[9, 0]), None, "shorter than it says");
        assert_eq!(text(&[]), None);
    }
}
