//! A rule's pattern, compiled to say quickly whether a text matches: an automaton that reads forwards
//! alone and makes its states as texts need them. Where a match is, is asked of findings alone.

use std::panic::{RefUnwindSafe, UnwindSafe};

use regex_automata::Input;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::{BuildError, Regex};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_syntax::hir::Hir;

use super::literals;

/// Bytes of compiled program that one pattern may cost, twice what the largest built-in one does. The
/// engine is linear: at worst it visits each of some 8,000 states at each byte of a text, never more.
const BUDGET_BYTES: usize = 1 << 18;

/// A compiled pattern.
pub struct Pattern {
    automaton: DFA,
    /// The states that were needed so far, for each thread.
    states: Pool<Cache, MakeCache>,
    /// Whether texts that differ in digits alone may differ in whether they match.
    pub tells_digits: bool,
}

type MakeCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

impl Pattern {
    /// # Errors
    /// It is too large.
    pub fn compile(hir: &Hir) -> Result<Pattern, String> {
        let config =
            thompson::Config::new().utf8(false).which_captures(WhichCaptures::None).nfa_size_limit(Some(BUDGET_BYTES));
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|error| error.size_limit().map_or_else(|| format!("the pattern is broken: {error}"), too_large))?;
        // Where states are made again and again, it gives up: each byte of a text would cost one.
        let config = DFA::config().minimum_cache_clear_count(Some(3)).minimum_bytes_per_state(Some(10));
        let automaton = DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())?;
        let for_pool = automaton.clone();
        let states = Pool::new(Box::new(move || for_pool.create_cache()) as MakeCache);
        Ok(Pattern { automaton, states, tells_digits: literals::tells_digits(hir) })
    }

    /// Whether it matches `text`; `None` where another engine is faster.
    pub fn is_match(&self, text: &[u8]) -> Option<bool> {
        let mut states = self.states.get();
        let end = self.automaton.try_search_fwd(&mut states, &Input::new(text).earliest(true));
        end.ok().map(|end| end.is_some())
    }
}

/// Compiles a pattern to say where it matches, too.
///
/// # Errors
/// It is too large, or broken.
pub fn finder(hir: &Hir) -> Result<Regex, String> {
    // Its own search for literals would come after ours, and takes most of the time to build.
    let config = Regex::config().auto_prefilter(false).utf8_empty(false).nfa_size_limit(Some(2 * BUDGET_BYTES));
    let regex = Regex::builder().configure(config).build_from_hir(hir);
    regex.map_err(|error: BuildError| {
        error.size_limit().map_or_else(|| format!("the pattern is broken: {error}"), too_large)
    })
}

fn too_large(limit: usize) -> String {
    format!("the pattern compiles to more than {limit} bytes")
}
