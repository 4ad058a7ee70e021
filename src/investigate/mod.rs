//! Takes the lines of an input, understood, and what rules said of them; gives threats that cite lines,
//! a risk, and who did what. Pure: no clock, no file, no network.
