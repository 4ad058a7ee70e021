//! A question in English → a plan. Every word that carries meaning is understood, or there is no plan.

mod assemble;

use super::Moment;
use super::plan::{Condition, Field, Order, Plan, Statuses, Step};
use super::time::{self, Piece};
use super::tokens::{Kind, MAX_BYTES, Token, tokens};
use super::words::{EXAMPLES, LONGEST, Meaning, meaning};
use crate::event::{Action, DecisionState, printable};

/// A plan, and what was read differently from what was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Understood {
    pub plan: Plan,
    /// Misspelt words, and what they were taken for.
    pub corrected: Vec<(String, String)>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error, serde::Serialize)]
#[error("{why}")]
pub struct Refusal {
    pub why: String,
    /// The words that were not understood, as they were written, printable.
    pub unknown: Vec<String>,
    /// Questions like it that are understood.
    pub nearest: Vec<&'static str>,
}

/// The plan that answers `question`.
///
/// # Errors
/// Which words are not understood, or what does not fit together.
pub fn understand(question: &str, moment: &Moment) -> Result<Understood, Refusal> {
    let refuse = |why: String, unknown: Vec<String>| Refusal { why, unknown, nearest: nearest(question) };
    if question.len() > MAX_BYTES {
        return Err(refuse(format!("a question has at most {MAX_BYTES} bytes"), vec![]));
    }
    let (tokens, corrected) = tokens(question);
    let mut reading = Reading::new(&tokens);
    reading.read(moment);
    if !reading.unknown.is_empty() {
        let unknown: Vec<String> = reading.unknown.iter().map(|word| printable(word.as_bytes(), 100)).collect();
        let words: Vec<String> = unknown.iter().map(|word| format!("{word:?}")).collect();
        let mut why = format!("not understood: {}", words.join(", "));
        if unknown.iter().any(|word| word.eq_ignore_ascii_case("why")) {
            why.push_str("; `palisade why ADDRESS` tells what led to a ban");
        }
        return Err(refuse(why, unknown));
    }
    let plan = reading.plan(moment).map_err(|why| refuse(why, vec![]))?;
    plan.check(moment).map_err(|why| refuse(why, vec![]))?;
    Ok(Understood { plan, corrected })
}

/// The examples that share most words with `question`.
fn nearest(question: &str) -> Vec<&'static str> {
    let weighty = |text: &str| -> Vec<String> {
        let (tokens, _) = tokens(text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or_default());
        let words = tokens.iter().filter_map(Token::word).filter(|word| meaning(word) != Some(Meaning::Filler));
        words.map(str::to_owned).collect()
    };
    let asked = weighty(question);
    let mut ranked: Vec<(usize, &str)> = EXAMPLES
        .iter()
        .map(|example| (weighty(example).iter().filter(|word| asked.contains(word)).count(), *example))
        .collect();
    ranked.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
    ranked.into_iter().take(3).map(|(_, example)| example).collect()
}

/// A "not" on its way to what it denies.
struct Denial<'a> {
    word: &'a str,
    /// What it has denied: it goes on for more values of the same.
    of: Option<&'static str>,
}

/// What was read so far.
#[derive(Default)]
struct Reading<'a> {
    tokens: &'a [Token],
    /// The words as they are looked up; empty for what is no word.
    words: Vec<String>,
    unknown: Vec<&'a str>,
    denial: Option<Denial<'a>>,
    conditions: Vec<(Condition, bool)>,
    pieces: Vec<Piece>,
    ever: bool,
    /// Nouns: findings, blocks, decisions in general, people.
    finding: bool,
    block: bool,
    decision: bool,
    person: bool,
    /// "was blocked", and whether it was denied.
    blocked: Option<bool>,
    operator: Option<bool>,
    present: bool,
    now: Option<&'a str>,
    active: Option<&'a str>,
    about: bool,
    /// It can be told of one client alone.
    when: Option<&'a str>,
    count: bool,
    /// What is counted may still follow.
    counting: bool,
    /// Each once.
    distinct: bool,
    most: bool,
    busiest: bool,
    /// What follows "by" is an order.
    sorted: bool,
    order: Order,
    trend: bool,
    step: Option<Step>,
    by: Option<Field>,
    /// Two things by which to group.
    two: bool,
    more_than: Option<u64>,
    limit: Option<u64>,
}

impl<'a> Reading<'a> {
    fn new(tokens: &'a [Token]) -> Reading<'a> {
        let word = |token: &Token| match &token.kind {
            Kind::Known(_) | Kind::Number(_) => token.word().unwrap_or_default().to_owned(),
            Kind::Unknown => token.raw.to_lowercase(),
            _ => String::new(),
        };
        Reading { tokens, words: tokens.iter().map(word).collect(), ..Reading::default() }
    }

    fn read(&mut self, moment: &Moment) {
        let mut at = 0;
        if let Some(token) = self.tokens.iter().find(|token| {
            token.word().is_none_or(|word| !["please", "pls", "can", "could", "would", "you"].contains(&word))
        }) && ["block", "ban"].contains(&&*token.raw.to_lowercase())
        {
            // An order, and no question.
            self.unknown.push(&token.raw);
        }
        while at < self.tokens.len() {
            at += self.step(at, moment).max(1);
        }
        if let Some(Denial { word, of: None }) = self.denial {
            self.unknown.push(word);
        }
    }

    /// Reads what begins at a token; gives how many tokens that was.
    fn step(&mut self, at: usize, moment: &Moment) -> usize {
        let token = &self.tokens[at];
        let words: Vec<&str> = self.words[at..].iter().map(String::as_str).collect();
        if let Some((piece, used)) = time::read(&words, moment) {
            if let Some(Denial { word, of: None }) = self.denial {
                self.unknown.push(word);
                self.denial = None;
            }
            self.pieces.push(piece);
            return used;
        }
        match &token.kind {
            Kind::Client(network) => self.add(Condition::Client(vec![*network])),
            Kind::Path => self.add(Condition::Path(vec![token.raw.clone()])),
            Kind::Quoted => self.add(Condition::Contains(vec![token.raw.clone()])),
            Kind::Break => {}
            Kind::Number(_) => return self.number(at),
            Kind::Unknown => return self.unknown(at),
            Kind::Known(_) => {
                if let Some(used) = self.method(at) {
                    return used;
                }
                return match self.phrase(at) {
                    Some((meaning, used)) => self.mean(at, meaning, used),
                    None if self.number_at(at).is_some() => self.number(at),
                    None => {
                        self.unknown.push(&token.raw);
                        1
                    }
                };
            }
        }
        1
    }

    /// The longest phrase that begins at a token.
    fn phrase(&self, at: usize) -> Option<(Meaning, usize)> {
        let is_word = |token: &Token| token.word().is_some();
        let longest = self.tokens.get(at..)?.iter().take(LONGEST).take_while(|token| is_word(token)).count();
        (1..=longest).rev().find_map(|used| Some((meaning(&self.words[at..at + used].join(" "))?, used)))
    }

    fn mean(&mut self, at: usize, meaning: Meaning, used: usize) -> usize {
        let counting = std::mem::take(&mut self.counting);
        let next = at + used;
        match meaning {
            Meaning::Filler if self.words[at] == "over" && self.number_at(next).is_some() => {
                return used + self.compare(at, next, Meaning::Above);
            }
            Meaning::Filler => self.counting = counting,
            Meaning::Finding => {
                // "how many attacked users"
                self.counting = counting && self.words[at].ends_with("ed");
                self.noun(|reading| reading.finding = true);
            }
            // "did we block"
            Meaning::Block if at > 0 && ["we", "you", "it", "they"].contains(&&*self.words[at - 1]) => {
                self.blocked = Some(self.is_denied("action"));
            }
            Meaning::Block => self.noun(|reading| reading.block = true),
            Meaning::Decision => self.noun(|reading| reading.decision = true),
            Meaning::Blocked => {
                self.counting = counting;
                self.blocked = Some(self.is_denied("action"));
            }
            Meaning::Present => self.present = true,
            Meaning::Now => self.now = Some(&self.tokens[at].raw),
            Meaning::Person => {
                // "the client 203.0.113.7" is that client.
                if !matches!(self.tokens.get(next).map(|token| &token.kind), Some(Kind::Client(_))) {
                    self.noun(|reading| reading.person = true);
                    self.distinct |= counting;
                }
            }
            Meaning::About => self.about = true,
            Meaning::When => (self.about, self.when) = (true, Some(self.tokens[at].raw.as_str())),
            Meaning::Count => (self.count, self.counting) = (true, true),
            Meaning::Most => {
                self.most = true;
                return used + self.limit_at(next);
            }
            Meaning::Busiest => (self.most, self.busiest) = (true, true),
            Meaning::Newest => return used + self.limit_at(next),
            Meaning::Oldest => {
                self.order = Order::Oldest;
                return used + self.limit_at(next);
            }
            Meaning::Worst => {
                self.order = Order::Score;
                return used + self.limit_at(next);
            }
            Meaning::Sorted => self.sorted = true,
            // "sort the attacks by severity"
            Meaning::Field(Field::Category) if self.words[at] == "sort" && at == 0 => self.sorted = true,
            Meaning::Per if self.sorted => match self.order_by(next) {
                Some((order, by)) => {
                    self.order = order;
                    return used + by;
                }
                None => self.unknown.push(&self.tokens[at].raw),
            },
            Meaning::Per => match self.phrase(next) {
                // "every attack"
                Some((Meaning::Finding | Meaning::Block | Meaning::Decision, _)) => {}
                Some((Meaning::Field(_) | Meaning::Step(_) | Meaning::Person, _)) => {}
                _ if self.words[at] == "by" => {}
                _ => self.unknown.push(&self.tokens[at].raw),
            },
            Meaning::Field(field) => return used + self.field(field, next, counting),
            Meaning::Step(step) => {
                self.two |= self.step.is_some_and(|other| other != step);
                self.step = Some(step);
            }
            Meaning::Trend => self.trend = true,
            Meaning::Category(categories) => self.add(Condition::Category(categories.to_vec())),
            Meaning::Service(service) => self.add(Condition::Service(vec![service])),
            Meaning::Monitored => self.add(Condition::Action(vec![Action::Monitor])),
            Meaning::State(states) => {
                if states.contains(&DecisionState::Active) {
                    self.active = Some(&self.tokens[at].raw);
                }
                self.add(Condition::State(states.to_vec()));
            }
            Meaning::Proposer(proposer) => self.add(Condition::Proposer(vec![proposer])),
            Meaning::DecidedBy(deciders) => self.add(Condition::DecidedBy(deciders.to_vec())),
            Meaning::Operator => self.operator = Some(self.is_denied("operator")),
            Meaning::Simulated(simulated) => {
                let is_denied = self.is_denied("simulated");
                self.put(Condition::Simulated(simulated != is_denied), false);
            }
            Meaning::User(name) => self.add(Condition::User(vec![name.to_owned()])),
            Meaning::Paths(paths) => {
                self.add(Condition::Path(paths.iter().map(|path| (*path).to_owned()).collect()));
            }
            Meaning::Tool(name) => self.add(Condition::UserAgent(vec![name.to_owned()])),
            Meaning::LetThrough => {
                let is_denied = self.is_denied("action");
                self.put(Condition::Action(vec![Action::Block]), !is_denied);
            }
            Meaning::Errors(class) => self.add(Condition::Status(vec![Statuses::Class(class)])),
            Meaning::Severity(from, to) => return used + self.severity(next, from, to),
            Meaning::Score => return used + self.score(at, next),
            Meaning::Above | Meaning::AtLeast | Meaning::Below | Meaning::AtMost => {
                return used + self.compare(at, next, meaning);
            }
            Meaning::Not => self.denial = Some(Denial { word: &self.tokens[at].raw, of: None }),
            Meaning::And => {}
            Meaning::But => self.denial = None,
            Meaning::Containing => match self.tokens.get(next) {
                Some(Token { kind: Kind::Path | Kind::Quoted | Kind::Unknown, raw }) => {
                    self.add(Condition::Contains(vec![raw.clone()]));
                    return used + 1;
                }
                _ => self.unknown.push(&self.tokens[at].raw),
            },
            Meaning::Answered => {
                let statuses = self.statuses(next);
                if statuses == 0 {
                    self.unknown.push(&self.tokens[at].raw);
                }
                return used + statuses;
            }
            Meaning::Ever => self.ever = true,
        }
        used
    }

    /// The order that the words at `at` name, and how many these are.
    fn order_by(&self, at: usize) -> Option<(Order, usize)> {
        match self.phrase(at)? {
            (Meaning::Score | Meaning::Field(Field::Severity), used) => Some((Order::Score, used)),
            (Meaning::Filler, used) if self.words[at] == "time" => Some((Order::Usual, used)),
            _ => None,
        }
    }

    /// What is asked for cannot be what is denied.
    fn noun(&mut self, set: impl Fn(&mut Self)) {
        if let Some(Denial { word, of: None }) = self.denial {
            self.unknown.push(word);
            self.denial = None;
        }
        set(self);
    }

    /// Whether the "not" before holds for what is named now; for what is not of the same kind it is over.
    fn is_denied(&mut self, name: &'static str) -> bool {
        match &mut self.denial {
            Some(denial) if denial.of.is_none_or(|of| of == name) => {
                denial.of = Some(name);
                true
            }
            _ => {
                self.denial = None;
                false
            }
        }
    }

    fn add(&mut self, condition: Condition) {
        let is_denied = self.is_denied(condition.name());
        self.put(condition, is_denied);
    }

    fn put(&mut self, condition: Condition, is_denied: bool) {
        self.conditions.push((condition, is_denied));
    }

    fn number_at(&self, at: usize) -> Option<u64> {
        match &self.tokens.get(at)?.kind {
            Kind::Number(number) => Some(*number),
            // "one" is a pronoun more often.
            Kind::Known(word) if word != "one" => time::number(word).and_then(|number| u64::try_from(number).ok()),
            _ => None,
        }
    }

    /// "top 10", "last 20": how many rows.
    fn limit_at(&mut self, at: usize) -> usize {
        match self.number_at(at) {
            Some(number) => {
                self.limit = Some(number);
                1
            }
            None => 0,
        }
    }

    fn number(&mut self, at: usize) -> usize {
        let number = self.number_at(at).unwrap_or_default();
        if self.words.get(at + 1).is_some_and(|word| word == "or")
            && self.words.get(at + 2).is_some_and(|word| word == "more")
        {
            self.more_than = Some(number.saturating_sub(1));
            return 3;
        }
        match self.phrase(at + 1) {
            Some((
                Meaning::Finding
                | Meaning::Block
                | Meaning::Decision
                | Meaning::Person
                | Meaning::Field(_)
                | Meaning::Most
                | Meaning::Worst
                | Meaning::Busiest
                | Meaning::Newest
                | Meaning::Oldest,
                _,
            )) if self.limit.is_none() => self.limit = Some(number),
            _ => self.unknown.push(&self.tokens[at].raw),
        }
        1
    }

    fn unknown(&mut self, at: usize) -> usize {
        if let Some(used) = self.method(at) {
            return used;
        }
        let raw = &self.tokens[at].raw;
        // "404s", "5xx"; a number alone could be anything.
        let status = self.words[at].strip_suffix('s').unwrap_or(&self.words[at]);
        if let Some(statuses) = Statuses::parse(status) {
            self.add(Condition::Status(vec![statuses]));
        } else if raw.contains('-') && self.phrase(at + 1).is_some_and(|(next, _)| next == Meaning::Field(Field::Rule))
        {
            self.add(Condition::Rule(vec![raw.clone()]));
            return 2;
        } else {
            self.unknown.push(raw);
        }
        1
    }

    /// "POST requests".
    fn method(&mut self, at: usize) -> Option<usize> {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
        let raw = &self.tokens[at].raw;
        let method = METHODS.into_iter().find(|method| raw == method)?;
        let is_before = self.words.get(at + 1).is_some_and(|word| word == "request");
        let is_behind = at > 0 && self.words[at - 1] == "method";
        (is_before || is_behind).then(|| {
            self.add(Condition::Method(vec![method.to_owned()]));
            1
        })
    }

    fn has_tool(&self) -> bool {
        self.has(|condition| matches!(condition, Condition::UserAgent(_)))
    }

    /// A field with the values that follow it, or one to group by. Gives how many tokens the values were.
    fn field(&mut self, field: Field, next: usize, counting: bool) -> usize {
        // "with curl as user agent"
        if field == Field::UserAgent
            && self.words[..next].iter().rev().skip(1).any(|word| word == "as")
            && self.has_tool()
        {
            return 0;
        }
        let joints = ["id", "=", "is", "of"];
        let skip = usize::from(self.words.get(next).is_some_and(|word| joints.contains(&word.as_str())));
        let from = next + skip;
        let used = match field {
            Field::Rule => {
                self.texts(from, |token| token.raw.contains('-') || token.kind == Kind::Unknown, Condition::Rule)
            }
            Field::User => self.texts(
                from,
                |token| token.kind == Kind::Unknown || ["root", "admin"].contains(&&*token.raw),
                Condition::User,
            ),
            Field::UserAgent => {
                let is_name = |token: &Token| {
                    matches!(token.kind, Kind::Unknown | Kind::Quoted)
                        || matches!(token.word().and_then(meaning), Some(Meaning::Tool(_)))
                };
                self.texts(from, is_name, Condition::UserAgent)
            }
            Field::Status => self.statuses(from),
            _ => 0,
        };
        if used > 0 {
            return skip + used;
        }
        // "the network 203.0.113.0/24", "category sqli", "severity medium": what follows says it.
        let is_label = match (field, self.tokens.get(from).map(|token| &token.kind), self.phrase(from)) {
            (Field::Network, Some(Kind::Client(_)), _) | (Field::Path, Some(Kind::Path | Kind::Quoted), _) => true,
            (Field::Category, _, Some((Meaning::Category(_), _))) => true,
            (Field::Service, _, Some((Meaning::Service(_), _))) => true,
            (Field::State, _, Some((Meaning::State(_), _))) => true,
            (Field::Proposer, _, Some((Meaning::Proposer(_) | Meaning::Operator, _))) => true,
            (Field::Severity, _, Some((meaning, _))) => matches!(
                meaning,
                Meaning::Severity(..) | Meaning::Above | Meaning::AtLeast | Meaning::Below | Meaning::AtMost
            ),
            (Field::Method, Some(_), _) => self.method(from).is_some(),
            _ => false,
        };
        if is_label {
            return if field == Field::Method { skip + 1 } else { skip };
        }
        self.noun(|_| {});
        self.two |= self.by.is_some_and(|by| by != field);
        self.by = Some(field);
        self.distinct |= counting;
        0
    }

    /// Values that are texts: "root", "root and admin".
    fn texts(
        &mut self,
        from: usize,
        fits: impl Fn(&Token) -> bool,
        condition: impl Fn(Vec<String>) -> Condition,
    ) -> usize {
        let (mut at, mut used) = (from, 0);
        while let Some(token) = self.tokens.get(at).filter(|token| fits(token)) {
            self.add(condition(vec![token.raw.clone()]));
            // Words that are known stand divided at their hyphens.
            let parts = if matches!(token.kind, Kind::Known(_)) { token.raw.split('-').count() } else { 1 };
            at += parts;
            used = at - from;
            match self.words.get(at).map(String::as_str) {
                Some("and" | "or" | "nor") => at += 1,
                _ => break,
            }
        }
        used
    }

    /// Statuses that follow within two fillers.
    fn statuses(&mut self, from: usize) -> usize {
        let status = |reading: &Self, at: usize| match &reading.tokens.get(at)?.kind {
            Kind::Number(_) | Kind::Unknown => {
                Statuses::parse(reading.words[at].strip_suffix('s').unwrap_or(&reading.words[at]))
            }
            _ => None,
        };
        let is_filler = |at: &usize| {
            matches!(self.phrase(*at), Some((Meaning::Filler | Meaning::Answered | Meaning::Field(Field::Status), _)))
        };
        let mut at = from + (from..from + 2).take_while(is_filler).count();
        let mut used = 0;
        while let Some(one) = status(self, at) {
            self.add(Condition::Status(vec![one]));
            at += 1;
            used = at - from;
            match self.words.get(at).map(String::as_str) {
                Some("and" | "or" | "nor") => at += 1,
                _ => break,
            }
            at += usize::from(self.words.get(at).is_some_and(|word| word == "a"));
        }
        used
    }

    /// "or worse", "and above".
    fn or_worse(&self, at: usize) -> usize {
        let word = |at: usize| self.words.get(at).map_or("", String::as_str);
        let is_more = ["worse", "higher", "greater", "above", "up", "more"].contains(&word(at + 1));
        if ["or", "and"].contains(&word(at)) && is_more { 2 } else { 0 }
    }

    fn severity(&mut self, next: usize, from: u8, to: u8) -> usize {
        let noun = usize::from(self.words.get(next).is_some_and(|word| word == "severity"));
        let more = self.or_worse(next + noun);
        self.add(Condition::Score(from, if more > 0 { 10 } else { to }));
        noun + more
    }

    fn score(&mut self, at: usize, next: usize) -> usize {
        let skipped = (next..next + 2)
            .take_while(|at| self.words.get(*at).is_some_and(|word| ["of", "is", "a"].contains(&word.as_str())))
            .count();
        let from = next + skipped;
        let (meaning, used) = match self.phrase(from) {
            Some((meaning @ (Meaning::Above | Meaning::AtLeast | Meaning::Below | Meaning::AtMost), used)) => {
                (Some(meaning), used)
            }
            _ => (None, usize::from(self.words.get(from).is_some_and(|word| word == "over"))),
        };
        let number = self.number_at(from + used).and_then(|number| u8::try_from(number).ok());
        let Some(number) = number.filter(|number| *number <= 10) else {
            self.unknown.push(&self.tokens[at].raw);
            return skipped;
        };
        let more = self.or_worse(from + used + 1);
        let (low, high) = match meaning {
            Some(Meaning::AtLeast) => (number, 10),
            Some(Meaning::Below) => (1, number.saturating_sub(1)),
            Some(Meaning::AtMost) => (1, number),
            Some(_) => (number.saturating_add(1), 10),
            None if used > 0 => (number.saturating_add(1), 10),
            None if more > 0 => (number, 10),
            None => (number, number),
        };
        self.add(Condition::Score(low, high));
        skipped + used + 1 + more
    }

    /// "more than 50", "at least medium".
    fn compare(&mut self, at: usize, next: usize, how: Meaning) -> usize {
        if let Some((Meaning::Severity(from, to), used)) = self.phrase(next) {
            let (low, high) = match how {
                Meaning::AtLeast => (from, 10),
                Meaning::AtMost => (1, to),
                Meaning::Above => (to.saturating_add(1), 10),
                _ => (1, from.saturating_sub(1)),
            };
            self.add(Condition::Score(low, high));
            return used + usize::from(self.words.get(next + used).is_some_and(|word| word == "severity"));
        }
        let more_than = match (how, self.number_at(next)) {
            (Meaning::Above, number) => number,
            (Meaning::AtLeast, number) => number.map(|number| number.saturating_sub(1)),
            _ => None,
        };
        match more_than {
            Some(_) => {
                self.more_than = more_than;
                1
            }
            None => {
                self.unknown.push(&self.tokens[at].raw);
                0
            }
        }
    }
}
