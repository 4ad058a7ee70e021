//! Whether a pattern matches anywhere in a text: what rules ask of many short texts, each of a few rules.
//!
//! A pattern is a [`Program`], made when this is built for the rules that are built in. The states of its automaton are
//! made when a text first leads there. It says yes or no and ends with the first match, so that its states are few and
//! its tables small: an engine that tells where matches are took five times as long for texts that were new to it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use regex_syntax::hir::{Class, Hir, HirKind, Look, LookSet, Repetition};
use regex_syntax::utf8::Utf8Sequences;

/// A compiled pattern: places, each a way in which a text may go on. Place 0 is where a match begins.
#[derive(Clone, Debug)]
pub struct Program {
    /// The class of each byte: bytes of one class lead to the same places from everywhere.
    pub classes: Cow<'static, [u8]>,
    /// A byte of each class.
    pub bytes: Cow<'static, [u8]>,
    /// Sets of classes, a bit for each class in as many words as it takes.
    pub sets: Cow<'static, [u64]>,
    /// Where the steps of each place begin, and where in `also` the places that one is at with it; one more for the end.
    pub places: Cow<'static, [[u16; 2]]>,
    /// The assertions that must hold, as a [`LookSet`]; the set, by a class of which it is taken, or [`END`]; the place
    /// it leads to. A match that ends there whatever follows is a place's first step.
    pub steps: Cow<'static, [[u16; 3]]>,
    pub also: Cow<'static, [u16]>,
    /// Places that one is at before every byte, for a match may begin anywhere.
    pub start: Cow<'static, [u16]>,
    /// All assertions in it.
    pub looks: u16,
}

/// In place of a set: a match ends here.
const END: u16 = u16::MAX;

/// A pattern on the way from its syntax to a program, its end first.
#[derive(Default)]
struct Compiler {
    nodes: Vec<Node>,
    /// Sets of bytes, by number.
    sets: HashMap<Bytes, u16, RandomState>,
    budget: usize,
    spent: usize,
}

enum Node {
    Byte { by: u16, next: usize },
    Look { look: Look, next: usize },
    Any(Vec<usize>),
    End,
}

/// A set of bytes, a bit for each.
type Bytes = [u64; 4];

impl Compiler {
    fn add(&mut self, node: Node) -> Result<usize, String> {
        self.spent += size_of::<Node>() + if let Node::Any(nodes) = &node { size_of_val(&nodes[..]) } else { 0 };
        if self.spent > self.budget {
            return Err(too_large(self.budget));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn byte(&mut self, ranges: impl Iterator<Item = (u8, u8)>, next: usize) -> Result<usize, String> {
        let mut set = [0; 4];
        for byte in ranges.flat_map(|(from, to)| from..=to) {
            set[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        let new = self.sets.len() as u16;
        let by = *self.sets.entry(set).or_insert(new);
        self.add(Node::Byte { by, next })
    }

    /// What `hir` begins with if it goes on with `next`.
    fn compile(&mut self, hir: &Hir, next: usize) -> Result<usize, String> {
        match hir.kind() {
            HirKind::Empty => Ok(next),
            HirKind::Literal(literal) => {
                literal.0.iter().rev().try_fold(next, |next, &byte| self.byte([(byte, byte)].into_iter(), next))
            }
            HirKind::Class(Class::Bytes(class)) => {
                self.byte(class.iter().map(|range| (range.start(), range.end())), next)
            }
            // Alternatives of one character each are one, too.
            HirKind::Class(Class::Unicode(class)) => {
                let mut nodes = vec![];
                for sequence in class.iter().flat_map(|range| Utf8Sequences::new(range.start(), range.end())) {
                    let mut ranges = sequence.as_slice().iter().rev().map(|range| (range.start, range.end));
                    nodes.push(ranges.try_fold(next, |next, range| self.byte([range].into_iter(), next))?);
                }
                self.add(Node::Any(nodes))
            }
            HirKind::Look(look) if LookSet::singleton(*look).contains_word_unicode() => {
                Err("the pattern is broken: it asks for words of Unicode, and logs are bytes".into())
            }
            HirKind::Look(look) => self.add(Node::Look { look: *look, next }),
            HirKind::Repetition(repetition) => self.repeat(repetition, next),
            HirKind::Capture(capture) => self.compile(&capture.sub, next),
            HirKind::Concat(parts) => parts.iter().rev().try_fold(next, |next, part| self.compile(part, next)),
            HirKind::Alternation(parts) => {
                let nodes = parts.iter().map(|part| self.compile(part, next)).collect::<Result<_, _>>()?;
                self.add(Node::Any(nodes))
            }
        }
    }

    fn repeat(&mut self, Repetition { min, max, sub, .. }: &Repetition, next: usize) -> Result<usize, String> {
        let (mut entry, mut times) = (next, *min);
        if let Some(max) = max {
            for _ in *min..*max {
                let once_more = self.compile(sub, entry)?;
                entry = self.add(Node::Any(vec![once_more, next]))?;
            }
        } else {
            let again = self.add(Node::Any(vec![]))?;
            let once = self.compile(sub, again)?;
            self.nodes[again] = Node::Any(vec![once, next]);
            entry = if times == 0 { again } else { once };
            times = times.saturating_sub(1);
        }
        (0..times).try_fold(entry, |entry, _| self.compile(sub, entry))
    }
}

fn too_large(budget: usize) -> String {
    format!("the pattern compiles to more than {budget} bytes")
}

impl Program {
    /// Compiles a pattern, on the way to which at most `budget` bytes are taken.
    ///
    /// # Errors
    /// It takes more, or asks for Unicode.
    pub fn new(hir: &Hir, budget: usize) -> Result<Program, String> {
        let mut compiler = Compiler { budget, ..Compiler::default() };
        let end = compiler.add(Node::End)?;
        let first = compiler.compile(hir, end)?;
        let (mut places, mut steps, mut also, mut looks) = (vec![], vec![], vec![], 0);
        // A place is a node to which a byte or another place leads.
        let mut found = vec![first];
        let mut numbers = HashMap::from([(first, 0)]);
        let mut number = |node: usize, found: &mut Vec<usize>| {
            *numbers.entry(node).or_insert_with(|| {
                found.push(node);
                found.len() as u16 - 1
            })
        };
        while let Some(&node) = found.get(places.len()) {
            let first_step = steps.len();
            places.push([first_step as u16, also.len() as u16]);
            let (mut todo, mut seen) = (vec![(node, 0)], vec![]);
            while let Some((at, required)) = todo.pop() {
                if seen.contains(&(at, required)) {
                    continue;
                }
                seen.push((at, required));
                match &compiler.nodes[at] {
                    Node::Byte { by, next } => steps.push([required, *by, number(*next, &mut found)]),
                    Node::End => steps.push([required, END, 0]),
                    Node::Look { look, next } => {
                        looks |= look.as_repr() as u16;
                        todo.push((*next, required | look.as_repr() as u16));
                    }
                    // Its alternatives are those of many places.
                    Node::Any(_) if required == 0 && at != node => also.push(number(at, &mut found)),
                    Node::Any(nodes) => todo.extend(nodes.iter().map(|&node| (node, required))),
                }
            }
            // An end that nothing is required of comes first.
            steps[first_step..].sort_by_key(|[required, by, _]| (*by != END, *required));
            if steps.len().max(also.len()) > usize::from(u16::MAX) {
                return Err(too_large(budget));
            }
        }
        places.push([steps.len() as u16, also.len() as u16]);
        let mut program = Program {
            classes: Cow::default(),
            bytes: Cow::default(),
            sets: Cow::default(),
            places: places.into(),
            steps: steps.into(),
            also: also.into(),
            start: Cow::default(),
            looks,
        };
        let mut start = vec![];
        program.visit(0, &mut |place| {
            let is_new = !start.contains(&place);
            start.extend(is_new.then_some(place));
            is_new
        });
        program.start = start.into();
        program.classify(&compiler.sets);
        Ok(program)
    }

    /// Puts bytes into classes by the sets that they are in, and writes the sets as those of classes.
    fn classify(&mut self, sets: &HashMap<Bytes, u16, RandomState>) {
        let mut kinds: HashMap<(u16, Vec<bool>), u8, RandomState> = HashMap::default();
        let (mut classes, mut bytes) = (vec![], vec![]);
        for byte in 0..=255u8 {
            let is_in = sets.keys().map(|set| set[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0).collect();
            let class = *kinds.entry((self.kind(Some(byte)), is_in)).or_insert_with(|| {
                bytes.push(byte);
                bytes.len() as u8 - 1
            });
            classes.push(class);
        }
        let words = bytes.len().div_ceil(64);
        let mut of_classes = vec![0; words * sets.len()];
        for (class, byte) in bytes.iter().enumerate() {
            for (set, &number) in sets {
                let is_in = set[usize::from(byte >> 6)] >> (byte & 63) & 1;
                of_classes[words * usize::from(number) + class / 64] |= is_in << (class % 64);
            }
        }
        (self.classes, self.bytes, self.sets) = (classes.into(), bytes.into(), of_classes.into());
    }

    /// Whether the pattern matches anywhere in `text`.
    pub fn is_match(&self, text: &[u8], states: &mut States) -> bool {
        self.walk(text, states, |_, _, _| {})
    }

    /// [`is_match`](Self::is_match), telling `each` how many bytes were read and to which state they led.
    #[inline]
    fn walk(&self, text: &[u8], states: &mut States, mut each: impl FnMut(&States, usize, u32)) -> bool {
        let mut state = states.first(self);
        for (at, byte) in text.iter().enumerate() {
            state = states.step(self, state, Some(*byte));
            if state == MATCH {
                return true;
            }
            each(states, at + 1, state);
        }
        states.step(self, state, None) == MATCH
    }

    /// Whether each of several patterns matches anywhere in `text`. A core that waits for where one leads goes on with
    /// the others meanwhile: four take little longer than one.
    pub fn match_together<const N: usize>(programs: [&Program; N], text: &[u8], states: [&mut States; N]) -> [bool; N] {
        const ELSEWHERE: u32 = 2;
        const NOWHERE: ([u8; 256], [u32; 3]) = ([0; 256], [ELSEWHERE; 3]);
        let (mut states, mut matches) = (states, [false; N]);
        let mut rows = std::array::from_fn(|one| states[one].first(programs[one]));
        let mut read = 0;
        loop {
            // Those that are done go round in a circle.
            let ways: [(&[u8; 256], &[u32]); N] =
                std::array::from_fn(|one| match programs[one].classes.first_chunk() {
                    Some(classes) if !matches[one] => (classes, &*states[one].next),
                    _ => (&NOWHERE.0, &NOWHERE.1[..]),
                });
            while let Some(&byte) = text.get(read) {
                let to: [u32; N] = std::array::from_fn(|one| {
                    ways[one].1[rows[one] as usize + usize::from(ways[one].0[usize::from(byte)])]
                });
                if to.iter().any(|row| *row <= MATCH) {
                    break;
                }
                (rows, read) = (to, read + 1);
            }
            let byte = text.get(read);
            for one in 0..N {
                if !matches[one] {
                    rows[one] = states[one].step(programs[one], rows[one], byte.copied());
                    if rows[one] == MATCH {
                        (rows[one], matches[one]) = (ELSEWHERE, true);
                    }
                }
            }
            if byte.is_none() || matches == [true; N] {
                return matches;
            }
            read += 1;
        }
    }

    /// Where the match is that ends first, as far as it goes on: for people.
    pub fn find(&self, text: &[u8], states: &mut States) -> Option<Range<usize>> {
        // Where no match was under way, none had begun before.
        let mut from = 0;
        let note_idle = |states: &States, read, state: u32| {
            if states.sets[state as usize / self.stride()].len() == 1 {
                from = read;
            }
        };
        if !self.walk(text, states, note_idle) {
            return None;
        }
        let mut found: Option<Range<usize>> = None;
        // The places that matches have come to, and where each began.
        let (mut places, mut begun) = (vec![], vec![usize::MAX; self.places.len()]);
        for at in from..=text.len() {
            let start = found.as_ref().map(|found| found.start);
            if start.is_none() {
                self.arrive(0, at, &mut places, &mut begun);
            }
            let byte = text.get(at).copied();
            let class = byte.map(|byte| usize::from(self.classes[usize::from(byte)]));
            let holding = holding(at.checked_sub(1).map(|before| text[before]), byte);
            let take = |place: u16| (place, std::mem::replace(&mut begun[usize::from(place)], usize::MAX));
            let under_way: Vec<_> = places.drain(..).map(take).collect();
            for (place, begin) in under_way.into_iter().filter(|(_, begin)| start.is_none_or(|start| start == *begin)) {
                for &[_, by, to] in self.steps_of(place).iter().filter(|step| step[0] & !holding == 0) {
                    if by == END {
                        found = Some(found.map_or(begin, |found| found.start.min(begin))..at);
                    } else if class.is_some_and(|class| self.has(by, class)) {
                        self.arrive(to, begin, &mut places, &mut begun);
                    }
                }
            }
            if found.is_some() && places.is_empty() {
                break;
            }
        }
        found
    }

    /// Notes that a match which began at `begin` has come to `place`.
    fn arrive(&self, place: u16, begin: usize, places: &mut Vec<u16>, begun: &mut [usize]) {
        self.visit(place, &mut |place| {
            let known = &mut begun[usize::from(place)];
            places.extend((*known == usize::MAX).then_some(place));
            let is_earlier = begin < *known;
            *known = begin.min(*known);
            is_earlier
        });
    }

    /// Calls `each` with `place` and the places that one is at with it, as long as it says that they are new.
    fn visit(&self, place: u16, each: &mut impl FnMut(u16) -> bool) {
        if each(place) {
            let [[_, from], [_, to]] = [0, 1].map(|more| self.places[usize::from(place) + more]);
            self.also[usize::from(from)..usize::from(to)].iter().for_each(|&also| self.visit(also, each));
        }
    }

    fn steps_of(&self, place: u16) -> &[[u16; 3]] {
        let [[from, _], [to, _]] = [0, 1].map(|more| self.places[usize::from(place) + more]);
        &self.steps[usize::from(from)..usize::from(to)]
    }

    fn has(&self, set: u16, class: usize) -> bool {
        let words = self.bytes.len().div_ceil(64);
        self.sets[words * usize::from(set) + class / 64] >> (class % 64) & 1 != 0
    }

    /// Columns of the table of states: the classes, and the end of the text.
    fn stride(&self) -> usize {
        self.bytes.len() + 1
    }

    /// What the byte before is to the assertions of the pattern, as one of its kind; 256 is the beginning.
    fn kind(&self, byte: Option<u8>) -> u16 {
        let tells_lines = (LookSet { bits: self.looks.into() }).contains_anchor_line();
        match byte {
            _ if self.looks == 0 => 0,
            None => 256,
            Some(byte @ (b'\n' | b'\r')) if tells_lines => byte.into(),
            Some(byte) if is_word(byte) => b'a'.into(),
            Some(_) => 0,
        }
    }
}

/// The assertions that hold between two bytes, as a [`LookSet`].
fn holding(before: Option<u8>, after: Option<u8>) -> u16 {
    let (word_before, word_after) = (before.is_some_and(is_word), after.is_some_and(is_word));
    let holds = [
        (Look::Start, before.is_none()),
        (Look::End, after.is_none()),
        (Look::StartLF, matches!(before, None | Some(b'\n'))),
        (Look::EndLF, matches!(after, None | Some(b'\n'))),
        (Look::StartCRLF, matches!(before, None | Some(b'\n')) || before == Some(b'\r') && after != Some(b'\n')),
        (Look::EndCRLF, matches!(after, None | Some(b'\r')) || after == Some(b'\n') && before != Some(b'\r')),
        (Look::WordAscii, word_before != word_after),
        (Look::WordAsciiNegate, word_before == word_after),
        (Look::WordStartAscii, !word_before && word_after),
        (Look::WordEndAscii, word_before && !word_after),
        (Look::WordStartHalfAscii, !word_before),
        (Look::WordEndHalfAscii, !word_after),
    ];
    holds.iter().filter(|(_, holds)| *holds).fold(0, |all, (look, _)| all | look.as_repr() as u16)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The states of a program that texts have led to, of one thread.
#[derive(Default)]
pub struct States {
    /// Of each state a row: to whose row each class of bytes and, last, the end of the text lead. A state is known by
    /// where its row begins, so that to go on takes no multiplication.
    next: Vec<u32>,
    /// What each state is: the [kind](Program::kind) of the byte before, and the places, in order.
    sets: Vec<Arc<[u16]>>,
    rows: HashMap<Arc<[u16]>, u32, RandomState>,
    /// Reused memory: a state in the making, and whether each place was looked at.
    made: Vec<u16>,
    seen: Vec<bool>,
}

/// Nobody has been there yet.
const UNKNOWN: u32 = 0;
/// A match has ended.
const MATCH: u32 = 1;

/// Bytes that the states of one program may take, roughly: beyond it they are forgotten and made anew.
const STATES_BYTES: usize = 1 << 20;

impl States {
    /// The state at the beginning of a text.
    fn first(&mut self, program: &Program) -> u32 {
        if self.sets.is_empty() {
            self.begin(program);
        }
        // The row before it is of none.
        program.stride() as u32
    }

    /// Where a byte, or the end of the text, leads from `state`.
    #[inline]
    fn step(&mut self, program: &Program, state: u32, byte: Option<u8>) -> u32 {
        let class = byte.map(|byte| usize::from(program.classes[usize::from(byte)]));
        match self.next[state as usize + class.unwrap_or(program.stride() - 1)] {
            UNKNOWN => self.make(program, state, class),
            known => known,
        }
    }

    /// [`step`](Self::step) of a class of bytes to where nobody was yet.
    #[cold]
    fn make(&mut self, program: &Program, state: u32, class: Option<usize>) -> u32 {
        let stride = program.stride();
        let set = self.sets[state as usize / stride].clone();
        let byte = class.map(|class| program.bytes[class]);
        let holding = if program.looks == 0 { 0 } else { holding(u8::try_from(set[0]).ok(), byte) };
        let Self { made, seen, .. } = self;
        made.clear();
        made.push(program.kind(byte));
        seen.clear();
        seen.resize(program.places.len(), false);
        let mut is_match = false;
        for &place in set[1..].iter().chain(&*program.start) {
            for &[_, by, to] in program.steps_of(place).iter().filter(|step| step[0] & !holding == 0) {
                if by == END {
                    is_match = true;
                } else if class.is_some_and(|class| program.has(by, class)) {
                    program.visit(to, &mut |place| {
                        let is_new = !std::mem::replace(&mut seen[usize::from(place)], true);
                        let steps = program.steps_of(place);
                        is_match |= steps.first().is_some_and(|&[looks, by, _]| by == END && looks == 0);
                        made.extend((is_new && !steps.is_empty()).then_some(place));
                        is_new
                    });
                }
            }
        }
        let next = match class {
            _ if is_match => MATCH,
            Some(_) => {
                made[1..].sort_unstable();
                let made = std::mem::take(made);
                if self.bytes() > STATES_BYTES {
                    *self = States::default();
                    self.begin(program);
                    return self.row(made, program);
                }
                self.row(made, program)
            }
            // Any but a match.
            None => stride as u32,
        };
        self.next[state as usize + class.unwrap_or(stride - 1)] = next;
        next
    }

    fn begin(&mut self, program: &Program) {
        self.sets.push(Arc::from([]));
        self.next.resize(program.stride(), UNKNOWN);
        self.row(vec![program.kind(None)], program);
    }

    /// Where the row of the state begins that `made` is.
    fn row(&mut self, made: Vec<u16>, program: &Program) -> u32 {
        let row = match self.rows.get(&made[..]) {
            Some(&known) => known,
            None => {
                let new = self.next.len() as u32;
                let set: Arc<[u16]> = made[..].into();
                self.sets.push(set.clone());
                self.rows.insert(set, new);
                self.next.resize(self.next.len() + program.stride(), UNKNOWN);
                new
            }
        };
        self.made = made;
        row
    }

    fn bytes(&self) -> usize {
        4 * self.next.len() + 128 * self.sets.len()
    }
}

#[cfg(test)]
mod tests;
