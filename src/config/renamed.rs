//! Keys that have another name now. The old one is accepted for one release, with a warning.

use super::mistake::Mistake;
use super::tree::Node;

/// A key that was renamed. Of lists of tables it stays in its list: `tier[].model_name`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renamed {
    pub old: &'static str,
    pub new: &'static str,
}

/// Those whose old name the next release does not know any more.
pub(super) const RENAMED: &[Renamed] = &[];

/// Puts what stands under old names where it belongs, with a warning each; that a key has both is a mistake.
pub(super) fn accept(node: &mut Node, renamed: &[Renamed], warnings: &mut Vec<Mistake>, mistakes: &mut Vec<Mistake>) {
    for Renamed { old, new } in renamed {
        let mut move_key = |node: &mut Node, from: &str, to: &str| {
            let Some(value) = node.take(from) else { return };
            let told = |message: String| Mistake { origin: value.origin.clone(), key: (*old).to_owned(), message };
            if node.at(to).is_some() {
                mistakes.push(told(format!("is the old name of {new}, which is set too; remove one of the two")));
                return;
            }
            warnings.push(told(format!("is called {new} now; the next release does not know the old name any more")));
            node.put(to, value);
        };
        match (old.split_once("[]."), new.split_once("[].")) {
            (Some((list, from)), Some((_, to))) => {
                node.items_mut(list).for_each(|item| move_key(item, from, to));
            }
            _ => move_key(node, old, new),
        }
    }
}
