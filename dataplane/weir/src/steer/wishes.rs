//! What the configuration wants of policies, by the identifiers of its VIPs.

use std::{collections::BTreeMap, time::Duration};

use policy::{
    guard::Bounds,
    plan::{Kind, ModelFile, Plan},
    steering::Mode,
};

use crate::{
    config::{self, Config, Fallback, Policy, PolicyMode, PolicySettings, PolicySource},
    control::Directory,
};

/// How which VIPs are to be steered.
#[derive(Clone, Debug, PartialEq)]
pub struct Wishes {
    /// Time between two frames of statistics.
    pub period: Duration,
    /// Statistics, and weights of another process, that are older are not believed.
    pub stale_after: Duration,
    /// By VIP; those that keep their configured weights are not in it.
    pub plans: BTreeMap<u32, Plan>,
    /// The names of these VIPs.
    pub names: BTreeMap<u32, String>,
}

impl Default for Wishes {
    /// Nothing is to be steered.
    fn default() -> Self {
        let (period, stale_after) = (Duration::from_millis(50), Duration::from_secs(1));
        Self { period, stale_after, plans: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl Wishes {
    /// What `config` wants, its VIPs known by the names in `directory`.
    pub fn new(config: &Config, directory: &Directory) -> Self {
        let known = directory.vips.iter().filter(|vip| vip.configured);
        let elsewhere = config.policy.source == PolicySource::Region;
        Self::by_names(config, elsewhere, known.map(|vip| (vip.id.0, vip.name.as_str())))
    }

    /// What `config` wants, its VIPs known by these numbers and names.
    pub fn by_names<'a>(
        config: &Config,
        elsewhere: bool,
        known: impl Iterator<Item = (u32, &'a str)>,
    ) -> Self {
        let mut wishes = Self {
            period: config.policy.period,
            stale_after: config.policy.stale_after,
            plans: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for (id, name) in known {
            let vip = config.vips.iter().find(|vip| vip.name == name);
            if let Some(plan) = vip.and_then(|vip| plan(vip, &config.policy, elsewhere)) {
                wishes.plans.insert(id, plan);
                wishes.names.insert(id, name.into());
            }
        }
        wishes
    }
}

/// How a VIP is to be steered; `None`: not at all.
pub fn plan(vip: &config::Vip, settings: &PolicySettings, elsewhere: bool) -> Option<Plan> {
    let mode = match vip.policy.mode {
        PolicyMode::On if vip.select.follows_policies() => Mode::On,
        // Weights that no rule looks at cannot be put in force; they can be looked at.
        PolicyMode::On | PolicyMode::Shadow => Mode::Shadow,
        PolicyMode::Off => return None,
    };
    let policy = match vip.policy.kind {
        Policy::Static => return None,
        Policy::ActiveWcmp => Kind::ActiveWcmp,
        Policy::Aquarius => Kind::Aquarius,
        Policy::Hlb => Kind::Hlb,
        Policy::Rate => Kind::Rate,
        Policy::SacGru => Kind::SacGru,
        Policy::Qmix => Kind::Qmix,
    };
    let fallback = match settings.fallback {
        Fallback::Static => Kind::Static,
        Fallback::Hlb => Kind::Hlb,
    };
    let named = vip.policy.model.clone().map(ModelFile::at);
    let model = named.or_else(|| policy.is_agent().then(|| ModelFile::shipped(policy)));
    let bounds = Bounds::new(settings.weight_min, settings.weight_max, settings.step_max);
    // The configuration has been checked for these ranges.
    Some(Plan { policy, mode, model, elsewhere, fallback, bounds: bounds.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(select: &str, mode: &str) -> Option<Plan> {
        let text = format!(
            "[[port]]\ndevice = \"net_tap0\"\naddress = [\"192.0.2.2/24\"]\n[[vip]]\nname = \"web\"\n\
             address = \"203.0.113.10\"\nselect = \"{select}\"\npolicy = \"rate\"\npolicy_mode = \"{mode}\"\n\
             servers = [\"192.0.2.11\"]\n"
        );
        let config = Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}")).config;
        Wishes::by_names(&config, false, [(7, "web"), (8, "other")].into_iter()).plans.remove(&7)
    }

    #[test]
    fn weights_that_no_rule_looks_at_are_computed_only() {
        let mode = |select, mode| wishes(select, mode).map(|plan| plan.mode);
        assert_eq!((mode("sed2", "on"), mode("alias", "on")), (Some(Mode::On), Some(Mode::On)));
        assert_eq!((mode("maglev", "on"), mode("rr", "on")), (Some(Mode::Shadow), Some(Mode::Shadow)));
        assert_eq!((mode("sed2", "shadow"), mode("sed2", "off")), (Some(Mode::Shadow), None));
    }
}
