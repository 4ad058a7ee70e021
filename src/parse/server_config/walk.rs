use std::rc::Rc;
use std::vec::IntoIter;

use super::{File, MAX_DEPTH, MAX_FILES, Place, ReadFiles, ServerConfig};

/// One directive, or the beginning or end of a block of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub line: u32,
    pub words: Vec<String>,
    pub kind: StatementKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StatementKind {
    Directive,
    Opens,
    Closes,
}

/// The statements of a configuration in the order in which its server reads them. `B` is what is
/// remembered of an open block.
pub struct Walk<B> {
    pub blocks: Vec<B>,
    statements: fn(&str) -> Vec<Statement>,
    /// The file being read on top; below it those that are included after it and, begun, those that
    /// include it.
    files: Vec<Pending>,
    opened: usize,
}

struct Pending {
    path: Rc<str>,
    depth: usize,
    state: State,
}

enum State {
    Waits(String),
    /// Its statements, and how many blocks were open when it began.
    Begun(IntoIter<Statement>, usize),
}

impl<B> Walk<B> {
    /// Begins with the statements `first` of the file at `path`; `statements` reads those of others.
    pub fn new(path: &str, first: Vec<Statement>, statements: fn(&str) -> Vec<Statement>) -> Walk<B> {
        let main = Pending { path: path.into(), depth: 0, state: State::Begun(first.into_iter(), 0) };
        Walk { blocks: vec![], statements, files: vec![main], opened: 1 }
    }

    /// The next statement and where it stands.
    pub fn next(&mut self) -> Option<(Statement, Place)> {
        loop {
            let file = self.files.last_mut()?;
            if let State::Waits(text) = &file.state {
                file.state = State::Begun((self.statements)(text).into_iter(), self.blocks.len());
            }
            let State::Begun(statements, blocks) = &mut file.state else { return None };
            if let Some(statement) = statements.next() {
                let place = Place { file: file.path.clone(), line: statement.line };
                return Some((statement, place));
            }
            // A block ends in its file.
            self.blocks.truncate(*blocks);
            self.files.pop();
        }
    }

    /// Goes on with the files that `pattern` names, and after them where it was.
    pub fn include(&mut self, pattern: &str, place: &Place, read: &mut ReadFiles<'_>, found: &mut ServerConfig) {
        let depth = self.files.last().map_or(0, |file| file.depth) + 1;
        if depth > MAX_DEPTH || self.opened >= MAX_FILES {
            return found.leave_out(place, pattern, "too many files include each other");
        }
        // Not the files alone: to look for one costs time too.
        self.opened += 1;
        for File { path, text } in read(pattern).into_iter().rev() {
            let begun = |file: &Pending| matches!(file.state, State::Begun(..)) && *file.path == *path;
            match text {
                _ if self.files.iter().any(begun) => found.leave_out(place, &path, "it includes itself"),
                Err(why) => found.leave_out(place, &path, &why),
                Ok(text) => {
                    self.opened += 1;
                    self.files.push(Pending { path: path.into(), depth, state: State::Waits(text) });
                }
            }
        }
    }
}
