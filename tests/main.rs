//! Every test that needs more than one room, or a real server: one binary, a module each.

mod respond;
mod support;
