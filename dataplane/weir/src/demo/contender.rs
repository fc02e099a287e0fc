//! Who is compared: ways of the balancer to choose servers whose speed it does not know.

use std::{net::Ipv4Addr, path::Path};

use crate::{
    config::Config,
    error::{EXIT_CONFIG, Failure},
};

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
    /// The keys of the VIP that say who sets the weights.
    policy: String,
}

impl Contender {
    /// All of them, in the order of their turns; the last is `policy`, with this model.
    pub fn all(policy: &str, model: Option<&Path>) -> [Self; 3] {
        let model =
            model.map_or_else(String::new, |model| format!("model = {:?}\n", model.display().to_string()));
        let keys = format!("policy = \"{policy}\"\n{model}");
        [
            Self { name: "hash".into(), select: "hash", policy: String::new() },
            Self { name: "sed2".into(), select: "sed2", policy: String::new() },
            Self { name: format!("sed + {policy}"), select: "sed", policy: keys },
        ]
    }

    /// Whether it sends every server its weight's share of the connections, whatever the load.
    pub fn is_blind(&self) -> bool {
        self.select == "hash"
    }

    /// The configuration that an operator would write who does not know the speeds either: no weights.
    ///
    /// Errors: a model is given for a policy that has no use for one, or it cannot be used.
    pub fn config(&self) -> Result<Config, Failure> {
        let servers = addresses().map(|address| format!("\"{address}\"")).join(", ");
        let text = format!(
            "[[port]]\nname = \"lan\"\ndevice = \"net_ring0\"\naddress = [\"198.51.100.2/24\"]\n\
             [[vip]]\nname = \"web\"\naddress = \"{}\"\nport = {}\nselect = \"{}\"\nservers = [{servers}]\n{}",
            VIP.0, VIP.1, self.select, self.policy
        );
        let config = Config::parse(&text, "demo").map_err(|errors| Failure::config(&errors))?.config;
        let plans = config.vips.iter().filter_map(|vip| crate::steer::plan(vip, &config.policy, false));
        for plan in plans {
            plan.check().map_err(|error| Failure {
                cause: error.to_string(),
                remedy: error.remedy(),
                code: EXIT_CONFIG,
            })?;
        }
        Ok(config)
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
        let policies = Contender::all("rate", None).map(|contender| {
            let config = contender.config().unwrap();
            assert!(config.vips[0].servers.iter().all(|server| server.weight == 1.0), "{}", contender.name);
            config.vips[0].policy.kind.as_str()
        });
        assert_eq!(policies, ["static", "static", "rate"]);
    }

    #[test]
    fn agents_run_the_model_that_ships_or_the_one_that_is_given() {
        for policy in ["sac-gru", "qmix"] {
            let [.., last] = Contender::all(policy, None);
            assert_eq!(last.config().unwrap().vips[0].policy.model, None);
        }
        for policy in ["sac-gru", "rate"] {
            let [.., last] = Contender::all(policy, Some(Path::new("/nonexistent")));
            assert_eq!(last.config().unwrap_err().code, EXIT_CONFIG, "{policy}");
        }
    }
}
