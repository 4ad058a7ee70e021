//! Takes a question in words, gives a typed plan of what to look up; answers nothing itself, and writes
//! nothing.
