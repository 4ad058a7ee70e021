//! What a language model is asked where the grammar has no plan, and how its answer becomes one. It is shown the
//! question and the schema: nothing of any log.

use serde_json::{Value, json};

use super::plan::{Field, MAX_LIMIT, Plan};
use super::service::Service;
use super::{Moment, plan};
use crate::event::{Action, Category, DecidedBy, DecisionState, Proposer};

/// What it is told before the question.
pub fn instruction(moment: &Moment) -> String {
    let zone = moment.zone.iana_name().unwrap_or("UTC");
    format!(
        "You turn a question about a security log into one JSON object, a plan of what to look up, by the schema \
         that you are given. It can only read. Findings are suspicious requests and messages; decisions are blocks \
         of clients. `show` is list, count, top (with `by`), trend (with `step`) or client. `only` has conditions that \
         all must hold, `not` those that none may. Scores go from 1 to 10: low 3, medium 5, high 7, critical 9. Times \
         are RFC 3339 in UTC; without one in the question take the last seven days. Lists have limit 100 and rankings \
         10 unless a number is said. It is now {} UTC ({} in {zone}). Answer with the object alone.",
        moment.now,
        plan::local(moment.now, &moment.zone)
    )
}

/// The JSON schema of a [`Plan`].
pub fn schema() -> Value {
    fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().map(|one| name(*one)).collect()
    }
    let one_of = |field: &str, item: Value| {
        json!({
            "type": "object", "additionalProperties": false, "required": ["field", "is"],
            "properties": { "field": { "const": field }, "is": item },
        })
    };
    let list = |item: Value| json!({ "type": "array", "items": item, "minItems": 1, "maxItems": 100 });
    let text = || list(json!({ "type": "string", "minLength": 1, "maxLength": 200 }));
    let named = |names: Vec<&str>| list(json!({ "enum": names }));
    use DecisionState::*;
    let states = [Pending, Active, Held, Expired, Lifted, Refused];
    let deciders = [DecidedBy::Rules, DecidedBy::Cache, DecidedBy::Tier1, DecidedBy::Tier2, DecidedBy::Operator];
    let proposers = [Proposer::Rules, Proposer::Operator, Proposer::Imported, Proposer::Restored, Proposer::Fleet];
    let score = json!({ "type": "integer", "minimum": 1, "maximum": 10 });
    let conditions = json!({ "type": "array", "items": { "anyOf": [
        one_of("category", named(names(Category::ALL, Category::as_str))),
        one_of("client", text()),
        one_of("service", named(names(&Service::ALL, Service::as_str))),
        one_of("path", text()),
        one_of("rule", text()),
        one_of("user", text()),
        one_of("action", named(names(&[Action::None, Action::Monitor, Action::Block], Action::as_str))),
        one_of("score", json!({ "type": "array", "items": score, "minItems": 2, "maxItems": 2 })),
        one_of("status", list(json!({ "type": "string", "pattern": "^[1-5]([0-9][0-9]|xx)$" }))),
        one_of("method", text()),
        one_of("user_agent", text()),
        one_of("contains", text()),
        one_of("decided_by", named(names(&deciders, DecidedBy::as_str))),
        one_of("state", named(names(&states, DecisionState::as_str))),
        one_of("proposer", named(names(&proposers, Proposer::as_str))),
        one_of("simulated", json!({ "type": "boolean" })),
    ] } });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["show", "of", "from", "to"],
        "properties": {
            "show": { "enum": ["list", "count", "top", "trend", "client"] },
            "of": { "enum": ["findings", "decisions"] },
            "by": { "enum": names(Field::ALL, Field::as_str) },
            "step": { "enum": ["hour", "day"] },
            "only": conditions,
            "not": conditions,
            "from": { "type": "string", "format": "date-time" },
            "to": { "type": "string", "format": "date-time" },
            "order": { "enum": ["usual", "oldest", "score", "most"] },
            "more_than": { "type": "integer", "minimum": 0 },
            "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LIMIT },
        },
    })
}

/// The plan in a model's answer.
///
/// # Errors
/// A sentence for people: it is no plan, or none that can be answered.
pub fn plan(answer: &str, moment: &Moment) -> Result<Plan, String> {
    // Some put it into a fence.
    let text = match (answer.find('{'), answer.rfind('}')) {
        (Some(start), Some(end)) if start < end => &answer[start..=end],
        _ => return Err("the model's answer holds no plan".into()),
    };
    let mut plan: Plan =
        serde_json::from_str(text).map_err(|error| format!("the model's answer is no plan: {error}"))?;
    plan.sort();
    plan.check(moment).map_err(|why| format!("the model's plan makes no sense: {why}"))?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::understand;
    use crate::event::Timestamp;
    use jiff::tz::TimeZone;

    fn moment() -> Moment {
        // 2026-05-14T08:30:00Z
        Moment { now: Timestamp(1_778_747_400_000), zone: TimeZone::UTC }
    }

    #[test]
    fn a_plan_comes_back_from_its_own_json() {
        for question in crate::ask::EXAMPLES {
            let plan = understand(question, &moment()).unwrap_or_else(|why| panic!("{question}: {why}")).plan;
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(super::plan(&text, &moment()), Ok(plan.clone()), "{question}");
            assert_eq!(super::plan(&format!("Here:\n```json\n{text}\n```"), &moment()), Ok(plan), "{question}");
        }
    }

    #[test]
    fn what_is_outside_the_schema_is_no_plan() {
        let good =
            r#"{"show":"list","of":"findings","from":"2026-05-13T00:00:00Z","to":"2026-05-14T00:00:00Z","limit":5"#;
        assert!(plan(&format!("{good}}}"), &moment()).is_ok());
        for (more, why) in [
            (r#","sql":"DROP TABLE findings""#, "unknown field"),
            (r#","only":[{"field":"table","is":["findings"]}]"#, "unknown variant"),
            (r#","only":[{"field":"category","is":["everything"]}]"#, "unknown variant"),
            (r#","only":[{"field":"client","is":["nobody"]}]"#, "invalid"),
            (r#","only":[{"field":"score","is":[0,99]}]"#, "scores go from 1 to 10"),
            (r#","only":[{"field":"state","is":["active"]}]"#, "findings have no state"),
            (r#","only":[{"field":"path","is":[]}]"#, "0 values"),
            (r#","by":"category""#, "do not fit a list"),
            (r#","delete":true"#, "unknown field"),
        ] {
            let told = plan(&format!("{good}{more}}}"), &moment()).unwrap_err();
            assert!(told.contains(why), "{more}: {told}");
        }
        for text in
            ["", "no", "{}", "[1]", &good.replace("list", "write"), &good.replace("\"limit\":5", "\"limit\":0}")]
        {
            assert!(plan(text, &moment()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_schema_names_what_a_plan_has() {
        let schema = schema();
        let fields: Vec<&str> = schema["properties"]["only"]["items"]["anyOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["properties"]["field"]["const"].as_str().unwrap())
            .collect();
        for field in fields {
            // The tag is known; what is wrong is the value.
            let told = serde_json::from_value::<crate::ask::Condition>(json!({ "field": field, "is": { "x": 1 } }));
            let told = told.unwrap_err().to_string();
            assert!(!told.contains("unknown variant"), "{field}: {told}");
        }
        let plan = understand("top 5 attackers today", &moment()).unwrap().plan;
        for (name, _) in serde_json::to_value(plan).unwrap().as_object().unwrap() {
            assert!(schema["properties"][name].is_object(), "{name}");
        }
    }
}
