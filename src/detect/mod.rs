//! Takes events, gives findings. Matching looks at one line and is stateless; counting keeps
//! what clients did, in log time and bounded memory. Never reads a clock, a file or the network.

mod config;

pub use config::DetectConfig;
