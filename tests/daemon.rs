//! The program by itself: killed and started again, without configuration, verb by verb, and fed
//! with what no program should be fed.

mod bad_input;
mod bad_setup;
mod chaos;
mod gate;
mod history;
mod keep;
mod known_good;
mod least_privilege;
mod mode;
mod monitoring;
mod reload;
mod restart;
mod self_proof;
mod server_configs;
mod streams;
mod supervised;
mod verbs;
mod why;
mod zero_config;
