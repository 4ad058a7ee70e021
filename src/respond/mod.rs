//! Takes permits, makes the firewall shut those targets out, and says what it holds. Never
//! decides: a [`Permit`](crate::decide::Permit) comes from the gate alone.

mod config;

pub use config::RespondConfig;
