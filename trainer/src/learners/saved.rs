//! What has to be written down so that training goes on as if it had not been interrupted.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// An entry: numbers of a shape, or words of 64 bits (counts, positions, bits of double precision).
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// Numbers, row by row.
    Numbers {
        /// Their shape.
        shape: Vec<usize>,
        /// As many as the shape says.
        values: Vec<f32>,
    },
    /// Words.
    Words(Vec<u64>),
}

impl Entry {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Numbers { shape, .. } => shape.clone(),
            Self::Words(words) => vec![words.len()],
        }
    }

    const fn dtype(&self) -> Dtype {
        match self {
            Self::Numbers { .. } => Dtype::F32,
            Self::Words(_) => Dtype::U64,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Numbers { values, .. } => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Words(words) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        }
    }
}

/// Why something cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path:?}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a safetensors file, or it is cut off.
    #[error("is not a whole safetensors file: {0}")]
    Container(#[from] safetensors::SafeTensorError),
    /// An entry that nobody asked for.
    #[error("has an entry `{name}`, which is not known here")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// An entry is not there.
    #[error("has no entry `{name}`")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Numbers where words belong, or the reverse, or neither.
    #[error("has an entry `{name}` of type {found}")]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// An entry of another shape.
    #[error("has an entry `{name}` of shape {found:?}; it has to be {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: Vec<usize>,
    },
    /// Words that say something else than what is restored into.
    #[error("has {found:?} in its entry `{name}`; here it is {expected:?}")]
    Other {
        /// The entry.
        name: String,
        /// What it says.
        found: Vec<u64>,
        /// What would fit.
        expected: Vec<u64>,
    },
    /// Candle cannot compute with it.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Entries by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    entries: BTreeMap<String, Entry>,
}

impl Saved {
    /// Adds numbers.
    pub fn put_numbers(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) {
        self.entries.insert(name.into(), Entry::Numbers { shape: shape.to_vec(), values });
    }

    /// Adds words.
    pub fn put_words(&mut self, name: impl Into<String>, words: Vec<u64>) {
        self.entries.insert(name.into(), Entry::Words(words));
    }

    /// Adds all entries of another one, with `part.` in front of their names.
    pub fn put(&mut self, part: &str, other: Self) {
        self.entries.extend(other.entries.into_iter().map(|(name, entry)| (format!("{part}.{name}"), entry)));
    }

    /// The entries that were put under a name, without it. None if there are none.
    pub fn part(&self, part: &str) -> Self {
        let own = |(name, entry): (&String, &Entry)| {
            Some((name.strip_prefix(part)?.strip_prefix('.')?.to_owned(), entry.clone()))
        };
        Self { entries: self.entries.iter().filter_map(own).collect() }
    }

    /// The numbers of an entry and their shape.
    pub fn numbers(&self, name: &str) -> Result<(&[usize], &[f32]), SavedError> {
        match self.entry(name)? {
            Entry::Numbers { shape, values } => Ok((shape, values)),
            Entry::Words(_) => Err(SavedError::Type { name: name.to_owned(), found: "U64".to_owned() }),
        }
    }

    /// The words of an entry.
    pub fn words(&self, name: &str) -> Result<&[u64], SavedError> {
        match self.entry(name)? {
            Entry::Words(words) => Ok(words),
            Entry::Numbers { .. } => Err(SavedError::Type { name: name.to_owned(), found: "F32".to_owned() }),
        }
    }

    /// The one word of an entry.
    pub fn word(&self, name: &str) -> Result<u64, SavedError> {
        match self.words(name)? {
            [word] => Ok(*word),
            words => Err(shape(name, vec![words.len()], vec![1])),
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry, SavedError> {
        self.entries.get(name).ok_or_else(|| SavedError::Missing { name: name.to_owned() })
    }

    /// Checks that there is what `like` has, of the same types and shapes, and nothing else: whatever gave `like` can then
    /// be restored without fail.
    pub fn check(&self, like: &Self) -> Result<(), SavedError> {
        for (name, expected) in &like.entries {
            let found = self.entry(name)?;
            if found.dtype() != expected.dtype() {
                return Err(SavedError::Type { name: name.clone(), found: format!("{:?}", found.dtype()) });
            }
            if found.shape() != expected.shape() {
                return Err(shape(name, found.shape(), expected.shape()));
            }
        }
        match self.entries.keys().find(|name| !like.entries.contains_key(*name)) {
            Some(name) => Err(SavedError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// What a file holds: safetensors, numbers as F32 and words as U64. The same entries give the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SavedError> {
        let data: Vec<_> = self.entries.iter().map(|(name, entry)| (name, entry, entry.bytes())).collect();
        let views = data.iter().map(|(name, entry, bytes)| {
            Ok::<_, SavedError>((name.as_str(), TensorView::new(entry.dtype(), entry.shape(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        Ok(safetensors::serialize(views, None::<HashMap<String, String>>)?)
    }

    /// Reads what a file holds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SavedError> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut saved = Self::default();
        for (name, view) in file.iter() {
            // The file is little-endian, and its numbers need not be aligned.
            let data = view.data();
            match view.dtype() {
                Dtype::F32 => {
                    let (words, _) = data.as_chunks();
                    let values = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
                    saved.put_numbers(name, view.shape(), values);
                }
                Dtype::U64 if view.shape().len() == 1 => {
                    let (words, _) = data.as_chunks();
                    saved.put_words(name, words.iter().map(|&word| u64::from_le_bytes(word)).collect());
                }
                other => {
                    return Err(SavedError::Type { name: name.to_owned(), found: format!("{other:?}") });
                }
            }
        }
        Ok(saved)
    }

    /// Writes a file beside and puts it into place: whatever happens, there is the one before or the whole new one.
    pub fn write(&self, path: &Path) -> Result<(), SavedError> {
        let beside = path.with_added_extension("new");
        let failed = |source| SavedError::Write { path: path.to_owned(), source };
        fs::write(&beside, self.to_bytes()?).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, SavedError> {
        let bytes = fs::read(path).map_err(|source| SavedError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes)
    }
}

pub(super) fn shape(name: &str, found: Vec<usize>, expected: Vec<usize>) -> SavedError {
    SavedError::Shape { name: name.to_owned(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let mut inner = Saved::default();
        inner.put_numbers("weight", &[2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE / 8.0, 3.5]);
        inner.put_words("steps", vec![u64::MAX, 0]);
        let mut saved = Saved::default();
        saved.put("actor", inner);
        saved.put_numbers("nothing", &[0, 3], Vec::new());
        saved
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.safetensors");
        for _ in 0..2 {
            saved().write(&path).unwrap();
        }
        assert_eq!(Saved::read(&path).unwrap(), saved());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(saved().part("actor").words("steps").unwrap(), [u64::MAX, 0]);
        assert_eq!(saved().part("act"), Saved::default());
    }

    #[test]
    fn entries_that_do_not_fit_are_refused_by_name() {
        let refused = |change: fn(&mut Saved)| {
            let mut changed = saved();
            change(&mut changed);
            changed.check(&saved()).unwrap_err().to_string()
        };
        saved().check(&saved()).unwrap();
        assert_eq!(
            refused(|saved| drop(saved.entries.remove("actor.weight"))),
            "has no entry `actor.weight`"
        );
        assert_eq!(
            refused(|saved| saved.put_numbers("actor.weight", &[4], vec![0.0; 4])),
            "has an entry `actor.weight` of shape [4]; it has to be [2, 2]"
        );
        assert_eq!(
            refused(|saved| saved.put_words("actor.weight", vec![1])),
            "has an entry `actor.weight` of type U64"
        );
        assert_eq!(
            refused(|saved| saved.put_words("more", vec![1])),
            "has an entry `more`, which is not known here"
        );
        let bytes = saved().to_bytes().unwrap();
        assert!(matches!(Saved::from_bytes(&bytes[..bytes.len() - 1]), Err(SavedError::Container(_))));
    }
}
