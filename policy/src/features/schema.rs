//! Which features there are.

use ipc::sample::{Kind, Kinds};

use super::{native, published};

/// A set of features with a name and a version. A model works with the one it was trained with, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schema {
    /// Without scale: ratios to what the VIP's servers have in common. Any number of servers.
    Native,
    /// The eleven numbers for each server that published systems measure: open flows, and five statistics each of flow
    /// completion and flow duration.
    Orig11,
    /// The six of them that published agents see: open flows and five statistics of flow duration.
    Orig6,
    /// Four agents with four servers each: 18 numbers for each agent, 4 × 4 of its servers and 2 of the VIP.
    Grouped18,
    /// Sixteen servers at once: 74 numbers, 16 × 4 and 10 of the VIP.
    Flat74,
}

/// Servers in a schema of a fixed size.
const FIXED: usize = 16;

impl Schema {
    /// Every schema.
    pub const ALL: [Self; 5] = [Self::Native, Self::Orig11, Self::Orig6, Self::Grouped18, Self::Flat74];

    /// The schema of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schema| schema.name() == name)
    }

    /// Its name, as models and the configuration have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Orig11 => "orig11",
            Self::Orig6 => "orig6",
            Self::Grouped18 => "grouped18",
            Self::Flat74 => "flat74",
        }
    }

    /// Rises whenever a feature changes its meaning, place or number.
    pub const fn version(self) -> u32 {
        match self {
            Self::Native => 2,
            Self::Orig11 | Self::Orig6 | Self::Grouped18 | Self::Flat74 => 1,
        }
    }

    /// The kinds of samples that its numbers are of.
    pub const fn kinds(self) -> Kinds {
        match self {
            Self::Native => Kinds::of(&native::KINDS),
            Self::Orig6 => Kinds::of(&[Kind::FlowDuration]),
            Self::Orig11 | Self::Grouped18 | Self::Flat74 => {
                Kinds::of(&[Kind::FlowCompletion, Kind::FlowDuration])
            }
        }
    }

    /// How many features a server has.
    pub const fn per_server(self) -> usize {
        self.server_names().len()
    }

    /// How many features the VIP as a whole has.
    pub const fn context(self) -> usize {
        self.context_names().len()
    }

    /// How many rows there always are; `None`: as many as servers.
    pub const fn rows(self) -> Option<usize> {
        match self {
            Self::Native | Self::Orig11 | Self::Orig6 => None,
            Self::Grouped18 | Self::Flat74 => Some(FIXED),
        }
    }

    /// Names of a server's features, in their order.
    pub const fn server_names(self) -> &'static [&'static str] {
        match self {
            Self::Native => &native::SERVER,
            Self::Orig11 => &published::ORIG11,
            Self::Orig6 => &published::ORIG6,
            Self::Grouped18 | Self::Flat74 => &published::FOUR,
        }
    }

    /// Names of the features of the VIP as a whole, in their order.
    pub const fn context_names(self) -> &'static [&'static str] {
        match self {
            Self::Native => &native::CONTEXT,
            Self::Orig11 | Self::Orig6 => &[],
            Self::Grouped18 => &published::TWO,
            Self::Flat74 => &published::TEN,
        }
    }

    /// All names, those of a server before those of the VIP, for the manifest of a model.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.server_names().iter().chain(self.context_names()).copied()
    }
}
