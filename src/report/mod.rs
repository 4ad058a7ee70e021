//! Takes an analysis, gives it as a document. Never looks at the input again.
