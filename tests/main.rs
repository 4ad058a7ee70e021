//! The one integration binary: a module a room.

mod respond;
mod support;
