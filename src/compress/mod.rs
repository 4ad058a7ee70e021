//! Takes the lines of an input and which of them are evidence, gives a text of few tokens that keeps
//! every indicator and says where each piece came from. Never guesses what a line means.
