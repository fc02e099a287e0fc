//! Who is compared: ways of the balancer to choose servers whose speed it does not know.

use std::net::Ipv4Addr;

use crate::{config::Config, error::Failure};

/// Where clients connect to.
pub const VIP: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 10), 80);

/// Speeds of the modelled servers, which the balancer is not told.
pub const SPEEDS: [f64; 4] = [1.0, 2.0, 3.0, 4.0];

/// A way to choose servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// For people.
    pub name: String,
    select: &'static str,
    policy: Option<String>,
}

impl Contender {
    /// All of them, in the order of their turns; the last is `policy`.
    pub fn all(policy: &str) -> [Self; 3] {
        [
            Self { name: "hash".into(), select: "hash", policy: None },
            Self { name: "sed2".into(), select: "sed2", policy: None },
            Self { name: format!("sed + {policy}"), select: "sed", policy: Some(policy.into()) },
        ]
    }

    /// Whether it sends every server its weight's share of the connections, whatever the load.
    pub fn is_blind(&self) -> bool {
        self.select == "hash"
    }

    /// The configuration that an operator would write who does not know the speeds either: no weights.
    ///
    /// Errors: the policy is none that can do without a model.
    pub fn config(&self) -> Result<Config, Failure> {
        let servers = addresses().map(|address| format!("\"{address}\"")).join(", ");
        let policy = self.policy.as_ref().map_or(String::new(), |policy| format!("policy = \"{policy}\"\n"));
        let text = format!(
            "[[port]]\nname = \"lan\"\ndevice = \"net_ring0\"\naddress = [\"198.51.100.2/24\"]\n\
             [[vip]]\nname = \"web\"\naddress = \"{}\"\nport = {}\nselect = \"{}\"\nservers = [{servers}]\n{policy}",
            VIP.0, VIP.1, self.select
        );
        Config::parse(&text, "demo").map(|loaded| loaded.config).map_err(Failure::internal)
    }
}

/// Where the servers are.
pub fn addresses() -> [Ipv4Addr; 4] {
    [11, 12, 13, 14].map(|last| Ipv4Addr::new(198, 51, 100, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_told_no_weights_and_only_the_last_has_a_policy() {
        let policies = Contender::all("rate").map(|contender| {
            let config = contender.config().unwrap();
            assert!(config.vips[0].servers.iter().all(|server| server.weight == 1.0), "{}", contender.name);
            config.vips[0].policy.kind.as_str()
        });
        assert_eq!(policies, ["static", "static", "rate"]);
    }
}
