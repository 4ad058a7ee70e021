//! Rules that operators switched off from the dashboard, everywhere or on one path, until they are switched on
//! again. A file in the state directory keeps them; over the configuration they lie as `detect.disable` and
//! `[[exclusion]]` would.

use std::io;
use std::path::{Path, PathBuf};

use super::replay;
use super::tunings::{read_list, write_list};
use crate::config::Config;
use crate::detect::{ExclusionConfig, Ruleset};
use crate::show::SwitchedOff;

/// The list and its file.
#[derive(Clone)]
pub struct OffList {
    path: PathBuf,
    pub list: Vec<SwitchedOff>,
}

impl OffList {
    /// What was switched off before the start. A file that cannot be read counts as none.
    pub fn open(state_dir: &Path) -> OffList {
        let path = state_dir.join("switched-off.json");
        OffList { list: read_list(&path), path }
    }

    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self) -> io::Result<()> {
        write_list(&self.path, &self.list.iter().collect::<Vec<_>>())
    }

    /// `config` with the list over it.
    pub fn over(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for (number, one) in self.list.iter().enumerate() {
            let SwitchedOff { rule, path, reason, by, .. } = one;
            match path {
                None => config.detect.disable.push(rule.clone()),
                Some(path) => config.exclusion.push(ExclusionConfig {
                    path: Some(format!("^{}$", regex_syntax::escape(path))),
                    rules: vec![rule.clone()],
                    reason: format!("switched off by {by}: {reason}"),
                    place: (self.path.display().to_string(), number + 1),
                    ..ExclusionConfig::default()
                }),
            }
        }
        config
    }

    /// The rules of `config` with the list over it; what names a rule that is gone leaves the list.
    pub fn rules_over(&mut self, config: &Config) -> anyhow::Result<Ruleset> {
        let rules = replay::load_rules(&self.over(config));
        if rules.is_ok() || self.list.is_empty() {
            return rules;
        }
        let each = std::mem::take(&mut self.list).into_iter();
        let alone = each.map(|one| OffList { path: self.path.clone(), list: vec![one] });
        let fitting = alone.filter(|alone| match replay::load_rules(&alone.over(config)) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!("what was switched off does not fit any more: {error:#}");
                false
            }
        });
        self.list = fitting.flat_map(|alone| alone.list).collect();
        replay::load_rules(&self.over(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn off(rule: &str, path: Option<&str>) -> SwitchedOff {
        let (path, reason) = (path.map(str::to_owned), "a test".to_owned());
        SwitchedOff { id: rule.into(), rule: rule.into(), path, reason, by: "anna".into(), at: Timestamp(0) }
    }

    #[test]
    fn what_is_switched_off_is_kept_and_what_names_no_rule_any_more_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { server_configs: vec![], ..Config::default() };
        let all = replay::load_rules(&config).unwrap();
        let id = all.rules[0].id.to_string();
        let mut kept = OffList::open(dir.path());
        kept.list = vec![off(&id, None), off("gone-with-an-upgrade", Some("/x")), off(&all.rules[1].id, Some("/a.b"))];
        kept.save().unwrap();
        let mut again = OffList::open(dir.path());
        assert_eq!(again.list, kept.list);
        let rules = again.rules_over(&config).unwrap();
        assert_eq!(again.list.len(), 2);
        assert_eq!(rules.rules.len() + 1, all.rules.len());
        assert!(!rules.exclusions.is_empty());
        let exclusion = &again.over(&config).exclusion[0];
        assert_eq!(exclusion.path.as_deref(), Some("^/a\\.b$"), "a dot is a dot");
    }
}
