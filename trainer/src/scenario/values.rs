//! Values of a scenario that TOML has no types for.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor, value::MapAccessDeserializer},
};

use crate::sim::law::Law;

/// A time, written like `"250ms"`: a number and `ns`, `us`, `ms`, `s`, `m` or `h`. In nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span(pub f64);

impl Span {
    /// Whole nanoseconds.
    pub const fn nanos(self) -> u64 {
        self.0 as u64
    }
}

impl std::str::FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError(text.into());
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.replace('_', "").parse().map_err(|_| wrong())?;
        let nanos = match unit.trim() {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        Ok(Self(number * nanos))
    }
}

/// No time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write a number with ns, us, ms, s, m or h, like \"250ms\"")]
pub struct SpanError(String);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A law of sizes: a table with its `kind`, or a time that is always the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes(pub Law);

/// A law as a table.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Table {
    Constant { mean: Span },
    Uniform { min: Span, max: Span },
    Exponential { mean: Span },
    Lognormal { mean: Span, cv2: f64 },
    Pareto { mean: Span, shape: f64, spread: f64 },
    Hyperexponential { mean: Span, cv2: f64 },
}

impl From<Table> for Law {
    fn from(table: Table) -> Self {
        match table {
            Table::Constant { mean } => Self::Constant { mean: mean.0 },
            Table::Uniform { min, max } => Self::Uniform { min: min.0, max: max.0 },
            Table::Exponential { mean } => Self::Exponential { mean: mean.0 },
            Table::Lognormal { mean, cv2 } => Self::Lognormal { mean: mean.0, cv2 },
            Table::Pareto { mean, shape, spread } => Self::Pareto { mean: mean.0, shape, spread },
            Table::Hyperexponential { mean, cv2 } => Self::Hyperexponential { mean: mean.0, cv2 },
        }
    }
}

impl<'de> Deserialize<'de> for Sizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Law;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time like \"100ms\", or a table with a `kind`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Law, E> {
                let mean = text.parse::<Span>().map_err(E::custom)?.0;
                Ok(Law::Constant { mean })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Law, A::Error> {
                let law = Law::from(Table::deserialize(MapAccessDeserializer::new(map))?);
                law.check().map_err(de::Error::custom)?;
                Ok(law)
            }
        }
        deserializer.deserialize_any(Either).map(Self)
    }
}

/// When flows come: a word, or a table with its `kind`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pattern {
    /// Independent of each other, at an even rate.
    #[default]
    Poisson,
    /// At a rate that jumps up to `burst` times as high for about `busy`, and stays low for about `calm`.
    Mmpp {
        /// How many times as high.
        burst: f64,
        /// How long, on average.
        busy: Span,
        /// The time between, on average.
        calm: Span,
    },
    /// With gaps that vary as the law says, whose mean does not count.
    Renewal(Law),
    /// Like readers of an encyclopaedia over days of this length; pages cost fifty times as much as files.
    Wikipedia {
        /// How long a day lasts.
        day: Span,
    },
    /// As a trace says: when, and with how much work, both scaled to the rate and the mean work of the scenario.
    Trace {
        /// Its file, from the scenario's folder.
        file: PathBuf,
    },
}

/// A day that lasts a day.
const fn day() -> Span {
    Span(86_400e9)
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum PatternTable {
    Poisson,
    Mmpp {
        burst: f64,
        busy: Span,
        calm: Span,
    },
    Renewal {
        gaps: Sizes,
    },
    Wikipedia {
        #[serde(default = "day")]
        day: Span,
    },
    Trace {
        file: PathBuf,
    },
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Pattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"poisson\", \"mmpp\", \"wikipedia\", or a table with a `kind`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Pattern, E> {
                match word {
                    "poisson" => Ok(Pattern::Poisson),
                    "mmpp" => Ok(Pattern::Mmpp { burst: 4.0, busy: Span(2e9), calm: Span(8e9) }),
                    "wikipedia" => Ok(Pattern::Wikipedia { day: day() }),
                    _ => Err(E::unknown_variant(word, &["poisson", "mmpp", "wikipedia"])),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Pattern, A::Error> {
                Ok(match PatternTable::deserialize(MapAccessDeserializer::new(map))? {
                    PatternTable::Poisson => Pattern::Poisson,
                    PatternTable::Mmpp { burst, busy, calm } => {
                        let good = burst >= 1.0 && burst.is_finite() && busy.0 > 0.0 && calm.0 > 0.0;
                        if !good {
                            return Err(de::Error::custom("burst is at least 1, busy and calm are above 0"));
                        }
                        Pattern::Mmpp { burst, busy, calm }
                    }
                    PatternTable::Renewal { gaps } => Pattern::Renewal(gaps.0),
                    PatternTable::Wikipedia { day } if day.0 > 0.0 => Pattern::Wikipedia { day },
                    PatternTable::Wikipedia { .. } => return Err(de::Error::custom("a day takes time")),
                    PatternTable::Trace { file } => Pattern::Trace { file },
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One index or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indices(pub Vec<usize>);

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<usize>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a server, from 0, or a list of them")
            }

            fn visit_i64<E: de::Error>(self, index: i64) -> Result<Vec<usize>, E> {
                let index = usize::try_from(index);
                index.map(|index| vec![index]).map_err(|_| E::custom("servers are numbered from 0"))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<usize>, A::Error> {
                let mut indices = Vec::new();
                while let Some(index) = list.next_element()? {
                    indices.push(index);
                }
                Ok(indices)
            }
        }
        deserializer.deserialize_any(OneOrMore).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, nanos) in [
            ("5ns", 5),
            ("1.5us", 1500),
            ("250ms", 250_000_000),
            ("1_000s", 1_000_000_000_000),
            ("2m", 120_000_000_000),
        ] {
            assert_eq!(text.parse::<Span>().map(Span::nanos), Ok(nanos), "{text}");
        }
        for text in ["", "5", "ms", "-1s", "5 parsecs", "1.2.3s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
