use super::{Ailment, Level, ailment};

/// A service that the configuration names, and what came of asking it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Such as `tier local` or `redis`.
    pub name: String,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// All is well: what it said.
    Well(String),
    Ill {
        problem: String,
        advice: String,
    },
    /// It works or is not asked, and somebody may not expect that.
    Hint(String),
}

/// Whether services answer as they should. Without them rules go on alone.
pub fn services(services: &[Service]) -> Vec<Ailment> {
    let told = |Service { name, said }: &Service| match said {
        Said::Well(_) => None,
        Said::Ill { problem, advice } => Some(ailment(Level::Error, "service_unusable", name, problem, advice)),
        Said::Hint(hint) => {
            let advice = "nothing needs to be done if it is meant so";
            Some(ailment(Level::Note, "service_hint", name, hint, advice))
        }
    };
    services.iter().filter_map(told).collect()
}

/// A Postgres that answers.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// Host, port, database and user.
    pub place: String,
    /// Rights that the user lacks.
    pub lacking: Vec<String>,
    /// What is to know of its way: poolers and the like.
    pub hints: Vec<String>,
    /// Migrations that are not applied.
    pub pending: usize,
}

/// Whether what is sent to a database will arrive.
pub fn database(facts: &Database) -> Vec<Ailment> {
    let lacking = facts.lacking.iter().map(|lacking| {
        let (problem, advice) = lacking.split_once(": ").unwrap_or((lacking, "ask whose database it is"));
        ailment(Level::Error, "database_rights", &facts.place, problem, advice)
    });
    let hints = facts.hints.iter().map(|hint| {
        let (problem, advice) = hint.split_once(": ").unwrap_or((hint, "nothing needs to be done"));
        ailment(Level::Note, "database_hint", &facts.place, problem, advice)
    });
    let pending = (facts.pending > 0).then(|| {
        let problem = format!("{} migrations are pending", facts.pending);
        let advice = "the daemon applies them at its start, or now: palisade migrate";
        ailment(Level::Note, "migrations_pending", &facts.place, problem, advice)
    });
    lacking.chain(hints).chain(pending).collect()
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    #[test]
    fn who_does_not_answer_is_told_and_who_does_is_not() {
        let of = |said| services(&[Service { name: "tier local".into(), said }]);
        assert_eq!(of(Said::Well("its model is there".into())), []);
        let ill = Said::Ill { problem: "cannot be reached".into(), advice: "start it: ollama serve".into() };
        assert_eq!(told(&of(ill)), [(Level::Error, "service_unusable")]);
        assert_eq!(told(&of(Said::Hint("is not asked here".into()))), [(Level::Note, "service_hint")]);
    }

    #[test]
    fn a_database_without_rights_is_told_with_the_grant() {
        let place = "127.0.0.1:5432".to_owned();
        let lacking = vec!["cannot make the schema: GRANT CREATE ON DATABASE d TO u".to_owned()];
        let hints = vec!["port 6432 is pgbouncer's: works in each of its modes".to_owned()];
        let found = database(&Database { place: place.clone(), lacking, hints, pending: 2 });
        let expected =
            [(Level::Error, "database_rights"), (Level::Note, "database_hint"), (Level::Note, "migrations_pending")];
        assert_eq!(told(&found), expected);
        assert!(found[0].advice.starts_with("GRANT CREATE"), "{found:?}");
        assert_eq!(database(&Database { place, ..Database::default() }), []);
    }
}
