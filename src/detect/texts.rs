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
    /// Whether the texts have other views than the decoded one.
    have_views: bool,
}

/// Bytes and texts of nearly all requests: memory grows for others alone.
const BYTES: usize = 8192;
const TEXTS: usize = 128;

impl Default for Texts {
    fn default() -> Texts {
        let (arena, spare) = (Vec::with_capacity(BYTES), Vec::with_capacity(BYTES));
        Texts { arena, parts: Vec::with_capacity(TEXTS), spare, have_views: false }
    }
}

/// One text, in all views, as ranges of the arena: the same range where they are the same.
#[derive(Clone, Copy)]
struct Part {
    target: Target,
    decoded: (usize, usize),
    folded: (usize, usize),
    normalized: (usize, usize),
    /// The value of a parameter.
    is_value: bool,
}

impl Part {
    /// A text of `target` of which the decoded view is known.
    fn of(target: Target, decoded: (usize, usize)) -> Part {
        Part { target, decoded, folded: decoded, normalized: decoded, is_value: false }
    }
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

    /// Takes a URI apart for what looks at `wanted`.
    pub fn split_uri(&mut self, uri: &[u8], wanted: Targets) {
        self.take_apart(uri);
        self.look_at(wanted);
    }

    /// Takes a URI apart, decoded alone. Splits before it decodes, as servers do: an encoded `&` does not end a
    /// parameter.
    pub fn take_apart(&mut self, uri: &[u8]) {
        self.clear();
        for target in [Target::Uri, Target::Path, Target::Query] {
            self.parts.push(Part::of(target, (0, 0)));
        }
        let (path, query) = split_once(uri, b'?').map_or((uri, None), |(path, query)| (path, Some(query)));
        let path_end = self.decode(path, Plus::Literal).1;
        self.arena.extend(query.map(|_| b'?'));
        let query_start = self.arena.len();
        let mut rest = query;
        while let Some(pairs) = rest {
            let (pair, after) = split_once(pairs, b'&').map_or((pairs, None), |(pair, after)| (pair, Some(after)));
            let (name, value) = split_once(pair, b'=').map_or((pair, None), |(name, value)| (name, Some(value)));
            let name = self.decode(name, Plus::Space);
            self.parts.push(Part::of(Target::Args, name));
            if let Some(value) = value {
                self.arena.push(b'=');
                let value = self.decode(value, Plus::Space);
                self.parts.push(Part { is_value: true, ..Part::of(Target::Args, value) });
            }
            self.arena.extend(after.map(|_| b'&'));
            rest = after;
        }
        // No encoded byte has a sign that separates: what is whole is decoded as its parts are.
        let end = self.arena.len();
        for (part, range) in self.parts.iter_mut().zip([(0, end), (0, path_end), (query_start, end)]) {
            *part = Part::of(part.target, range);
        }
        self.parts.retain(|part| part.decoded.0 < part.decoded.1);
    }

    /// Keeps those parts of a URI taken apart that are `wanted`, in all views.
    pub fn look_at(&mut self, wanted: Targets) {
        self.parts.retain(|part| wanted.has(part.target));
        if !std::mem::replace(&mut self.have_views, true) {
            self.add_views(0);
        }
    }

    /// The decoded URI that was taken apart.
    pub fn whole(&self) -> &[u8] {
        self.parts.first().map_or(&[], |whole| self.text(whole.decoded))
    }

    /// Takes `text` as the one text of `target`.
    pub fn split_text(&mut self, text: &[u8], target: Target) {
        self.clear();
        self.add(text, Plus::Literal, target);
    }

    /// `raw` decoded, as no text of any request.
    pub fn decoded(&mut self, raw: &[u8]) -> &[u8] {
        self.clear();
        decode(raw, Plus::Literal, &mut self.arena);
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
        self.have_views = false;
    }

    fn add(&mut self, raw: &[u8], plus: Plus, target: Target) {
        if !raw.is_empty() {
            let (first, decoded) = (self.parts.len(), self.decode(raw, plus));
            self.parts.push(Part::of(target, decoded));
            self.add_views(first);
        }
    }

    /// Appends `raw`, decoded, to the arena; where it is there.
    fn decode(&mut self, raw: &[u8], plus: Plus) -> (usize, usize) {
        let from = self.arena.len();
        decode(raw, plus, &mut self.arena);
        (from, self.arena.len())
    }

    /// Adds to each text from `first` on its other views, and what values are in base64.
    fn add_views(&mut self, first: usize) {
        // What is foldable in a text is so in all that contains it, but for what comes out of base64.
        let (decoded_parts, may_fold) = (self.parts.len(), is_foldable(&self.arena));
        let fold_it = |text: &[u8], out: &mut Vec<u8>| {
            let is_foldable = is_foldable(text);
            if is_foldable {
                fold(text, out);
            }
            is_foldable
        };
        let mut at = first;
        while let Some(&Part { target, decoded, is_value, .. }) = self.parts.get(at) {
            let folded =
                (may_fold || at >= decoded_parts).then(|| self.add_view(decoded, fold_it)).flatten().unwrap_or(decoded);
            let is_path = target == Target::Path;
            let normalized = is_path.then(|| self.add_view(folded, normalize)).flatten().unwrap_or(folded);
            self.parts[at] = Part { folded, normalized, ..self.parts[at] };
            let hidden = is_value.then(|| self.add_view(decoded, base64::decode)).flatten();
            self.parts.extend(hidden.map(|range| Part::of(Target::Args, range)));
            at += 1;
        }
    }

    /// Appends to the arena what `view` makes of a text there, if it says that it makes anything; where it is.
    fn add_view(
        &mut self,
        (from, to): (usize, usize),
        view: impl Fn(&[u8], &mut Vec<u8>) -> bool,
    ) -> Option<(usize, usize)> {
        self.spare.clear();
        if !view(&self.arena[from..to], &mut self.spare) {
            return None;
        }
        let from = self.arena.len();
        self.arena.extend_from_slice(&self.spare);
        Some((from, self.arena.len()))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECES: &[&str] = &[
        "a", "/", "?", "&", "=", "+", "%", "2", "5", "f", "%25", "%3f", "%26", "%3D", "%u00", "%c0", "%af", "\\",
        "\\\\", "\\x2", "\\u003d", "\\u0026", "\\u003f", "u003d", "\\ud83d", "é",
    ];

    proptest! {
        #[test]
        fn what_is_whole_is_decoded_as_its_parts_are(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12)) {
            let uri = pieces.concat();
            let (mut texts, mut expected) = (Texts::default(), vec![]);
            texts.split_uri(uri.as_bytes(), Targets::URI);
            decode(uri.as_bytes(), Plus::SpaceInQuery, &mut expected);
            let whole = texts.of(Target::Uri, View::Decoded).next().unwrap_or_default();
            prop_assert_eq!(whole, &expected[..], "{}", uri);
        }
    }
}
