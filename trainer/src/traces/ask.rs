//! What a flow asks for, and what that costs.

use crate::sim::{
    law::{Law, LawError},
    rng::Stream,
};

/// What a flow asks for, as far as its trace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A loop of so many turns (`/dummy.php/?n=…`).
    Loop(u64),
    /// A page that is made for the asking (`/wiki/index.php/…`).
    Page,
    /// Anything else: a file.
    File,
    /// So many bytes, both ways.
    Bytes(u64),
}

/// What pages that are made for the asking have in their path.
pub const PAGE: &str = "/wiki/index.php/";
/// What a loop's path begins with.
pub const LOOP: &str = "/dummy.php/?n=";

impl Ask {
    /// What a query asks for. An error says at which byte (from 0) it stops making sense, and what to write.
    pub fn of_query(query: &str) -> Result<Self, (usize, &'static str)> {
        if !query.starts_with('/') {
            return Err((0, "write a URL path that begins with /"));
        }
        if let Some(turns) = query.strip_prefix(LOOP) {
            // The program stops at the first thing that is not a digit; other parameters may follow.
            let turns = turns.split('&').next().unwrap_or(turns);
            return turns.parse().map(Self::Loop).map_err(|_| (LOOP.len(), "n is a whole number of turns"));
        }
        Ok(if query.contains(PAGE) { Self::Page } else { Self::File })
    }
}

/// What asking costs a core at speed 1, in nanoseconds.
///
/// Only ratios matter where a replay is scaled to a mean of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// A turn of a loop.
    pub turn: f64,
    /// A page.
    pub page: Law,
    /// A file.
    pub file: Law,
    /// A byte.
    pub byte: f64,
}

impl Default for Costs {
    /// Assumptions, not measurements: a loop of the published traces 100 ms on the mean, a page lognormal with 100 ms, a
    /// file about 2 ms, and 8 ns for a byte (1 Gbit/s).
    fn default() -> Self {
        Self {
            turn: 100e6 / 3.67e6,
            page: Law::Lognormal { mean: 100e6, cv2: 1.0 },
            file: Law::Exponential { mean: 2e6 },
            byte: 8.0,
        }
    }
}

impl Costs {
    /// Refuses laws that make no sense.
    pub fn check(&self) -> Result<(), LawError> {
        self.page.check()?;
        self.file.check()
    }

    /// Draws what a flow costs; above zero.
    pub fn draw(&self, ask: Ask, stream: &mut Stream) -> f64 {
        let cost = match ask {
            Ask::Loop(turns) => turns as f64 * self.turn,
            Ask::Page => self.page.draw(stream),
            Ask::File => self.file.draw(stream),
            Ask::Bytes(bytes) => bytes as f64 * self.byte,
        };
        cost.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_say_what_they_ask_for() {
        for (query, expected) in [
            ("/dummy.php/?n=5478122", Ok(Ask::Loop(5_478_122))),
            ("/dummy.php/?n=7&x=1", Ok(Ask::Loop(7))),
            ("/wiki/index.php/Weir", Ok(Ask::Page)),
            ("/w/wiki/index.php/Weir", Ok(Ask::Page)),
            ("/static/logo.png", Ok(Ask::File)),
            ("/", Ok(Ask::File)),
            ("/dummy.php/?n=many", Err(14)),
            ("/dummy.php/?n=-1", Err(14)),
            ("/dummy.php/?n=", Err(14)),
            ("dummy", Err(0)),
            ("", Err(0)),
        ] {
            assert_eq!(Ask::of_query(query).map_err(|(at, _)| at), expected, "{query}");
        }
    }
}
