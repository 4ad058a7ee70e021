//! Texts with `{field}`s from a closed list. What is put in is never looked at again, so that a client
//! cannot name a field.

/// Every field, and what it says.
pub const FIELDS: &[(&str, &str)] = &[
    ("host", "this agent's name"),
    ("headline", "what happened, in a few words"),
    ("summary", "everything, as in the usual text"),
    ("severity", "the worst one: informational, low, medium, high or critical"),
    ("findings", "how many findings"),
    ("bans", "how many bans"),
    ("held", "how many blocks the gate holds back"),
    ("clients", "how many clients"),
    ("client", "the client of the worst one"),
    ("category", "its kind of attack"),
    ("score", "its score, 1 to 10"),
    ("request", "its method and URI, as logged"),
    ("rules", "ids of its rules"),
    ("reason", "why, in words"),
    ("source", "the file that it was read from"),
    ("time", "when"),
    ("top_clients", "the five clients with the most, each with its number"),
    ("categories", "the kinds of attacks, each with its number"),
    ("since", "when the first of them happened"),
    ("url", "the page of the case, where `public_url` is set"),
];

/// A text that is known to name fields that exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Field(&'static str),
}

impl Template {
    /// `{{` and `}}` are braces.
    ///
    /// # Errors
    /// A sentence: a brace is open, or there is no such field.
    pub fn parse(text: &str) -> Result<Template, String> {
        let (mut pieces, mut plain) = (vec![], String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let name = (brace == "{").then(|| after.split_once('}')).flatten();
            let Some((name, after)) = name else {
                return Err("a brace stands alone; write {{ or }} for one".into());
            };
            let Some((field, _)) = FIELDS.iter().find(|(field, _)| *field == name) else {
                let known: Vec<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
                return Err(format!("no field is called {name:?} (known: {})", known.join(", ")));
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Field(field));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Template(pieces))
    }

    /// The text with what `field` says.
    pub fn fill(&self, field: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(name) => field(name),
        };
        self.0.iter().map(piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_once_and_unknown_ones_are_refused() {
        let template = Template::parse("{host}: {{{client}}} did {request}").unwrap();
        let said = template.fill(|field| match field {
            "request" => "GET /{host}{{".into(),
            other => other.to_uppercase(),
        });
        assert_eq!(said, "HOST: {CLIENT} did GET /{host}{{");
        assert_eq!(Template::parse("plain").unwrap().fill(|_| String::new()), "plain");
        for (text, why) in [("{hots}", "no field is called \"hots\""), ("{host", "stands alone"), ("a } b", "alone")] {
            assert!(Template::parse(text).unwrap_err().contains(why), "{text}");
        }
    }
}
