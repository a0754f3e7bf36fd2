//! Large attributes, such as a model's coefficients: `Debug` shows a few items in full and a digest of many.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Deref;

/// Items up to which a list is shown in full.
const SHOWN: usize = 16;

/// A list that is an attribute of an operator. `Debug` texts are equal if and (but for an accident of probability
/// 2^-128) only if the lists are.
#[derive(Clone, PartialEq, Default)]
pub struct Table<T>(Vec<T>);

impl<T> From<Vec<T>> for Table<T> {
    fn from(items: Vec<T>) -> Table<T> {
        Table(items)
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Debug> Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len() <= SHOWN {
            return Debug::fmt(&self.0, f);
        }
        let mut digest = Digest::default();
        for item in &self.0 {
            write!(digest, "{item:?},")?;
        }
        write!(f, "[{} items, {:016x}{:016x}]", self.len(), digest.0.finish(), digest.1.finish())
    }
}

/// Two hashes of one text that begin differently.
struct Digest(DefaultHasher, DefaultHasher);

impl Default for Digest {
    fn default() -> Digest {
        let mut second = DefaultHasher::new();
        second.write(b"inferrum");
        Digest(DefaultHasher::new(), second)
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        self.1.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_items_are_shown_and_many_are_told_apart() {
        assert_eq!(format!("{:?}", Table::from(vec![1.5f32, -0.0])), "[1.5, -0.0]");
        let many = |last: f32| format!("{:?}", Table::from([vec![0.0; 100], vec![last]].concat()));
        assert_eq!(many(1.0), many(1.0));
        assert_ne!(many(1.0), many(1.000_000_1));
        assert!(many(1.0).starts_with("[101 items, ") && many(1.0).len() < 60);
    }
}
