//! How an implementation registers itself: one [`Kind`] in its room's `KINDS` table.

/// One registered implementation of a room's trait. The table of kinds drives the configuration,
/// `config formats` and the contract tests, so that nothing registered goes untested.
pub struct Kind<B: 'static> {
    /// The name used in configuration and output, such as `nginx_combined` or `nftables`.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Something that it accepts: a log line for a format, a config fragment for a responder.
    pub example: &'static str,
    /// Makes it.
    pub build: B,
}

/// The entry called `name`.
pub fn find<B>(kinds: &'static [Kind<B>], name: &str) -> Option<&'static Kind<B>> {
    kinds.iter().find(|kind| kind.name == name)
}
