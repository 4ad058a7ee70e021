//! (to be written)

pub mod surroundings;
