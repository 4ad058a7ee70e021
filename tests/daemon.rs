//! The program by itself: killed and started again, without configuration, verb by verb, and fed
//! with what no program should be fed.

mod restart;
mod zero_config;
