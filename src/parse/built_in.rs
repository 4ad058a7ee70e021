//! Formats that are built in as strings.

use std::sync::OnceLock;

use super::context::Context;
use super::{LogFormat, Unparsed};
use crate::event::Event;

/// A string that is compiled when it is first asked.
pub struct BuiltIn<F> {
    pub format: &'static str,
    compile: fn(&str) -> Result<F, String>,
    compiled: OnceLock<Result<F, String>>,
}

impl<F> BuiltIn<F> {
    pub const fn new(format: &'static str, compile: fn(&str) -> Result<F, String>) -> BuiltIn<F> {
        BuiltIn { format, compile, compiled: OnceLock::new() }
    }
}

impl<F: LogFormat + Send> LogFormat for BuiltIn<F> {
    #[inline]
    fn parse<'a>(&self, line: &'a [u8], context: &Context<'a>) -> Result<Event<'a>, Unparsed> {
        match self.compiled.get_or_init(|| (self.compile)(self.format)) {
            Ok(format) => format.parse(line, context),
            Err(_) => Err(Unparsed("the format does not compile")),
        }
    }
}
