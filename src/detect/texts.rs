//! The texts of one request that rules look at, in all views of `decode`.

use super::base64;
use super::decode::{Plus, decode, fold, is_foldable, split_once};
use super::normalize::normalize;
use super::rules::{Target, Targets, View};
use crate::event::Http;

/// The texts of the request that was split last. Its memory is used again.
pub struct Texts {
    arena: Vec<u8>,
    parts: Vec<Part>,
    /// A copy of what cannot be borrowed while the arena grows.
    spare: Vec<u8>,
}

/// Bytes and texts of nearly all requests: memory grows for others alone.
const BYTES: usize = 8192;
const TEXTS: usize = 128;

impl Default for Texts {
    fn default() -> Texts {
        let (arena, spare) = (Vec::with_capacity(BYTES), Vec::with_capacity(BYTES));
        Texts { arena, parts: Vec::with_capacity(TEXTS), spare }
    }
}

/// One text, in all views, as ranges of the arena: the same range where they are the same.
#[derive(Clone, Copy)]
struct Part {
    target: Target,
    decoded: (usize, usize),
    folded: (usize, usize),
    normalized: (usize, usize),
}

impl Texts {
    /// Takes apart a request for what looks at `wanted`.
    pub fn split(&mut self, http: &Http<'_>, wanted: Targets) {
        self.split_uri(http.uri, wanted);
        for (target, text) in [(Target::UserAgent, http.user_agent), (Target::Referer, http.referer)] {
            if wanted.has(target) {
                self.add(text, Plus::Literal, target);
            }
        }
    }

    /// Takes a URI apart. Splits before it decodes, as servers do: an encoded `&` does not end a
    /// parameter.
    pub fn split_uri(&mut self, uri: &[u8], wanted: Targets) {
        self.clear();
        let (path, query) = split_once(uri, b'?').unwrap_or((uri, b""));
        let whole = [
            (Target::Uri, uri, Plus::SpaceInQuery),
            (Target::Path, path, Plus::Literal),
            (Target::Query, query, Plus::Space),
        ];
        for (target, text, plus) in whole {
            if wanted.has(target) {
                self.add(text, plus, target);
            }
        }
        let mut rest = wanted.has(Target::Args).then_some(query);
        while let Some(pairs) = rest {
            let (pair, after) = split_once(pairs, b'&').map_or((pairs, None), |(pair, after)| (pair, Some(after)));
            let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
            self.add(name, Plus::Space, Target::Args);
            self.add(value, Plus::Space, Target::Args);
            self.add_base64(value);
            rest = after;
        }
    }

    /// Takes `text` as the one text of `target`.
    pub fn split_text(&mut self, text: &[u8], target: Target) {
        self.clear();
        self.add(text, Plus::Literal, target);
    }

    /// `raw` decoded, as no text of any request.
    pub fn decoded(&mut self, raw: &[u8], plus: Plus) -> &[u8] {
        self.clear();
        decode(raw, plus, &mut self.arena);
        &self.arena
    }

    /// The texts of `target` in `view`.
    pub fn of(&self, target: Target, view: View) -> impl Iterator<Item = &[u8]> {
        let wanted =
            move |(of, views, text): (Target, &[View], _)| (of == target && views.contains(&view)).then_some(text);
        self.all().filter_map(wanted)
    }

    /// Every text, with the views that it is.
    pub fn all(&self) -> impl Iterator<Item = (Target, &'static [View], &[u8])> {
        const VIEWS: [View; 3] = [View::Decoded, View::Folded, View::Normalized];
        let all = self.parts.iter().flat_map(|part| {
            let ranges = [part.decoded, part.folded, part.normalized];
            // The first view of each text, and how many more it is.
            let first = (0..3).filter(move |&at| at == 0 || ranges[at] != ranges[at - 1]);
            first.map(move |at| {
                let more = (at + 1..3).take_while(|&next| ranges[next] == ranges[at]).count();
                (part.target, &VIEWS[at..=at + more], ranges[at])
            })
        });
        all.map(|(target, views, range)| (target, views, self.text(range)))
    }

    /// The folded and normalized views that differ from the decoded ones.
    pub fn changed(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().flat_map(|part| {
            let folded = (part.folded != part.decoded).then_some(part.folded);
            let normalized = (part.normalized != part.folded).then_some(part.normalized);
            folded.into_iter().chain(normalized).map(|range| self.text(range))
        })
    }

    fn text(&self, (from, to): (usize, usize)) -> &[u8] {
        &self.arena[from..to]
    }

    fn clear(&mut self) {
        self.arena.clear();
        self.parts.clear();
    }

    fn add(&mut self, raw: &[u8], plus: Plus, target: Target) {
        if raw.is_empty() {
            return;
        }
        let from = self.arena.len();
        decode(raw, plus, &mut self.arena);
        self.push(from, target);
    }

    /// Adds the text that the value `raw`, which was added last, is in base64.
    fn add_base64(&mut self, raw: &[u8]) {
        let Some(value) = self.parts.last().filter(|_| !raw.is_empty()).map(|part| part.decoded) else { return };
        self.spare.clear();
        if base64::decode(&self.arena[value.0..value.1], &mut self.spare) {
            let from = self.arena.len();
            self.arena.extend_from_slice(&self.spare);
            self.push(from, Target::Args);
        }
    }

    /// What the arena has from `from` on becomes a text of `target`.
    fn push(&mut self, from: usize, target: Target) {
        let decoded = (from, self.arena.len());
        let mut folded = decoded;
        if is_foldable(self.text(decoded)) {
            self.spare.clear();
            fold(&self.arena[decoded.0..decoded.1], &mut self.spare);
            self.arena.extend_from_slice(&self.spare);
            folded = (decoded.1, self.arena.len());
        }
        let mut normalized = folded;
        self.spare.clear();
        if target == Target::Path && normalize(&self.arena[folded.0..folded.1], &mut self.spare) {
            let from = self.arena.len();
            self.arena.extend_from_slice(&self.spare);
            normalized = (from, self.arena.len());
        }
        self.parts.push(Part { target, decoded, folded, normalized });
    }
}

/// The views of a URI's parts that rules look at, by name, each text once: for `explain`.
pub fn views(uri: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut texts = Texts::default();
    texts.split_uri(uri, Targets::URI);
    let mut views = vec![];
    for part in texts.parts.iter().filter(|part| part.target != Target::Uri) {
        views.push((part.target.as_str(), texts.text(part.decoded).to_vec()));
        if part.folded != part.decoded {
            views.push(("folded", texts.text(part.folded).to_vec()));
        }
        if part.normalized != part.folded {
            views.push(("normalized", texts.text(part.normalized).to_vec()));
        }
    }
    views
}
