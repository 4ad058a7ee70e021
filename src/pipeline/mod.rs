//! Joins the rooms. `judge` is the one road from bytes to decisions, walked by the daemon
//! (`live`) and by offline work (`replay`) alike.

mod explain;
pub mod judge;
pub mod replay;
