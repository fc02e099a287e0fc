//! What a policy remembers, as words: exact to the bit, whatever the values are.

/// Words that are not the state of this policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// They end too early.
    #[error("the state ends too early")]
    Short,
    /// There are more than this policy has written.
    #[error("the state is too long")]
    Long,
    /// A word cannot be what it should be.
    #[error("a word of the state makes no sense")]
    Value,
}

/// Takes state down, word by word.
#[derive(Debug, Default)]
pub struct Writer(Vec<u64>);

impl Writer {
    /// A whole number.
    pub fn u64(&mut self, value: u64) {
        self.0.push(value);
    }

    /// A number, with all its bits.
    pub fn f64(&mut self, value: f64) {
        self.0.push(value.to_bits());
    }

    /// A number that may be missing: whether it is there, and it or 0.
    pub fn option(&mut self, value: Option<u64>) {
        self.u64(u64::from(value.is_some()));
        self.u64(value.unwrap_or(0));
    }

    /// Numbers, with how many they are.
    pub fn f32s(&mut self, values: &[f32]) {
        self.u64(values.len() as u64);
        self.0.extend(values.iter().map(|value| u64::from(value.to_bits())));
    }

    /// What was taken down.
    pub fn into_words(self) -> Vec<u64> {
        self.0
    }
}

/// Reads state in the order in which it was written.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u64]);

impl<'a> Reader<'a> {
    /// Reads these words.
    pub const fn new(words: &'a [u64]) -> Self {
        Self(words)
    }

    /// A whole number.
    pub fn u64(&mut self) -> Result<u64, StateError> {
        let (&first, rest) = self.0.split_first().ok_or(StateError::Short)?;
        self.0 = rest;
        Ok(first)
    }

    /// A number, with all its bits.
    pub fn f64(&mut self) -> Result<f64, StateError> {
        self.u64().map(f64::from_bits)
    }

    /// A number that may be missing.
    pub fn option(&mut self) -> Result<Option<u64>, StateError> {
        let (known, value) = (self.u64()?, self.u64()?);
        Ok((known > 0).then_some(value))
    }

    /// Numbers, as many as were written.
    pub fn f32s(&mut self) -> Result<Vec<f32>, StateError> {
        let count = usize::try_from(self.u64()?).map_err(|_| StateError::Value)?;
        let (values, rest) = self.0.split_at_checked(count).ok_or(StateError::Short)?;
        self.0 = rest;
        values
            .iter()
            .map(|&word| u32::try_from(word).map(f32::from_bits).map_err(|_| StateError::Value))
            .collect()
    }

    /// Checks that nothing is left.
    pub const fn end(self) -> Result<(), StateError> {
        if self.0.is_empty() { Ok(()) } else { Err(StateError::Long) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let mut writer = Writer::default();
        writer.u64(u64::MAX);
        writer.f64(f64::NAN);
        writer.option(Some(0));
        writer.option(None);
        writer.f32s(&[f32::NEG_INFINITY, -0.0, 1e-45]);
        let words = writer.into_words();
        let mut reader = Reader::new(&words);
        assert_eq!(reader.u64(), Ok(u64::MAX));
        assert_eq!(reader.f64().map(f64::to_bits), Ok(f64::NAN.to_bits()));
        assert_eq!((reader.option(), reader.option()), (Ok(Some(0)), Ok(None)));
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(reader.f32s().map(bits), Ok(bits(vec![f32::NEG_INFINITY, -0.0, 1e-45])));
        assert_eq!(reader.u64(), Err(StateError::Short));
    }

    #[test]
    fn words_of_something_else_are_refused() {
        assert_eq!(Reader::new(&[1]).end(), Err(StateError::Long));
        assert_eq!(Reader::new(&[2, 0]).f32s(), Err(StateError::Short));
        assert_eq!(Reader::new(&[1, 1 << 40]).f32s(), Err(StateError::Value));
    }
}
