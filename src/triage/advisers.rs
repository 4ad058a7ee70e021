//! Who may be asked: models and reputation services, each with what is left of its limits. Whoever asks shares
//! them.

use std::sync::Arc;

use super::{Privacy, ReputationConfig, Tier, TierConfig, Toolbox, UsedToday, tiers};
use crate::memory::Memory;

pub struct Advisers {
    pub tiers: Vec<Tier>,
    pub toolbox: Toolbox,
}

impl Advisers {
    /// Those that are configured and may be asked under `privacy`. `used` is what this day has cost before.
    ///
    /// # Errors
    /// A URL, key or file of the configuration cannot be used.
    pub fn open(
        configs: &[TierConfig],
        reputation: &ReputationConfig,
        privacy: Privacy,
        memory: Arc<dyn Memory>,
        used: UsedToday<'_>,
    ) -> anyhow::Result<Advisers> {
        Ok(Advisers {
            tiers: tiers(configs, privacy, used)?,
            toolbox: Toolbox::new(reputation, privacy, memory, used)?,
        })
    }

    /// What others asked today counts too: `used` is all that is known of.
    pub fn learn(&self, used: UsedToday<'_>) {
        self.tiers.iter().for_each(|tier| tier.learn(used(&tier.config.name)));
        self.toolbox.learn(used);
    }
}
