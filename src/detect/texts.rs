//! The texts of one request that rules look at, in both views of `decode`.

use super::decode::{Plus, decode, fold, is_foldable, split_once};
use super::rules::{Target, View};
use crate::event::Http;

/// The texts of the request that was split last. Its memory is used again.
#[derive(Default)]
pub struct Texts {
    arena: Vec<u8>,
    parts: Vec<Part>,
    /// A copy of what cannot be borrowed while the arena grows.
    spare: Vec<u8>,
}

/// One text, in both views, as ranges of the arena: the same range where they are the same.
#[derive(Clone, Copy)]
struct Part {
    target: Target,
    decoded: (usize, usize),
    folded: (usize, usize),
}

impl Texts {
    /// Takes apart what holds `target`.
    pub fn split(&mut self, http: &Http<'_>, target: Target) {
        match target {
            Target::UserAgent => self.split_text(http.user_agent, target),
            Target::Referer => self.split_text(http.referer, target),
            Target::Uri | Target::Path | Target::Query | Target::Args => self.split_uri(http.uri),
        }
    }

    /// Takes a URI apart. Splits before it decodes, as servers do: an encoded `&` does not end a
    /// parameter.
    pub fn split_uri(&mut self, uri: &[u8]) {
        self.clear();
        self.add(uri, Plus::SpaceInQuery, Target::Uri);
        let Some((path, query)) = split_once(uri, b'?') else { return self.add(uri, Plus::Literal, Target::Path) };
        self.add(path, Plus::Literal, Target::Path);
        self.add(query, Plus::Space, Target::Query);
        let mut rest = Some(query);
        while let Some(pairs) = rest {
            let (pair, after) = split_once(pairs, b'&').map_or((pairs, None), |(pair, after)| (pair, Some(after)));
            rest = after;
            match split_once(pair, b'=') {
                Some((name, value)) => {
                    self.add(name, Plus::Space, Target::Args);
                    self.add(value, Plus::Space, Target::Args);
                }
                None => self.add(pair, Plus::Space, Target::Args),
            }
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
        self.parts.iter().flat_map(|part| {
            let same = part.folded == part.decoded;
            let decoded: &[View] = if same { &[View::Decoded, View::Folded] } else { &[View::Decoded] };
            let folded: Option<(Target, &[View], _)> =
                (!same).then(|| (part.target, [View::Folded].as_slice(), self.text(part.folded)));
            std::iter::once((part.target, decoded, self.text(part.decoded))).chain(folded)
        })
    }

    /// The folded views that differ from the decoded ones.
    pub fn folded(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter(|part| part.folded != part.decoded).map(|part| self.text(part.folded))
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
        let decoded = (from, self.arena.len());
        let mut folded = decoded;
        if is_foldable(self.text(decoded)) {
            self.spare.clear();
            fold(&self.arena[decoded.0..decoded.1], &mut self.spare);
            self.arena.extend_from_slice(&self.spare);
            folded = (decoded.1, self.arena.len());
        }
        self.parts.push(Part { target, decoded, folded });
    }
}

/// The views of a URI's parts that rules look at, by name, each text once: for `explain`.
pub fn views(uri: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut texts = Texts::default();
    texts.split_uri(uri);
    let mut views = vec![];
    for part in texts.parts.iter().filter(|part| part.target != Target::Uri) {
        views.push((part.target.as_str(), texts.text(part.decoded).to_vec()));
        if part.folded != part.decoded {
            views.push(("folded", texts.text(part.folded).to_vec()));
        }
    }
    views
}
